<?php
// Ask pmcredd for ProcessMaker access tokens. PHP 8.1 or newer, on Linux; no dependencies, no extensions needed.
// SPDX-License-Identifier: MIT - copy this file freely.
//
//     require 'pmcred.php';
//     $token = Pmcred\getToken('prod', lasting: '30m');
//
// Written from docs/protocol.md: a request is one line over a Unix socket, an answer is a few.

declare(strict_types=1);

namespace Pmcred;

/** What went wrong: getCode() gives one of the protocol's codes, or 'no-daemon'; $hint says what mends it, or is ''. */
final class PmcredError extends \RuntimeException
{
    public function __construct(string $code, string $message, public readonly string $hint = '')
    {
        parent::__construct($message);
        $this->code = $code;
    }
}

/** The times are in unix seconds, or null if nobody knows. */
final class Token
{
    public function __construct(
        public readonly string $accessToken,
        public readonly string $tokenType,
        public readonly string $profile,
        public readonly string $url,
        public readonly ?int $expiresAt,
        public readonly ?int $goodUntil,
    ) {
    }

    /** var_dump() and print_r() do not show the token. */
    public function __debugInfo(): array
    {
        return ['accessToken' => '...'] + get_object_vars($this);
    }
}

/**
 * Get an access token that works now.
 *
 * @param ?string $profile the name of a profile; by default $PMCRED_PROFILE
 * @param null|int|string $lasting how long from now it must stay good: seconds, or '30m'
 * @param int $timeout how many seconds to wait, should the daemon have to get a new one first
 * @throws PmcredError
 */
function getToken(?string $profile = null, null|int|string $lasting = null, int $timeout = 60): Token
{
    $profile ??= (string) getenv('PMCRED_PROFILE');
    return toToken(ask('get', $profile, ['for' => $lasting, 'timeout' => $timeout]));
}

/** Tell that a server refused this access token with a 401. Gives the token to use instead. */
function reject(string $profile, #[\SensitiveParameter] string $accessToken, int $timeout = 60): Token
{
    $fingerprint = substr(hash('sha256', $accessToken), 0, 16);
    return toToken(ask('reject', $profile, ['fingerprint' => $fingerprint, 'timeout' => $timeout]));
}

/**
 * Send a request to a profile's ProcessMaker ('/api/1.0/users') with its token. A token that is refused with a 401 is
 * reported, and the request is sent once more with the next one.
 *
 * @return array{int, string} the status and the body
 */
function callApi(
    string $profile,
    string $path,
    string $method = 'GET',
    ?string $body = null,
    string $contentType = 'application/json',
): array {
    if (!isPlain(substr($path, 0, strcspn($path, '?#')))) {
        $why = 'must begin with a slash and have no ., .. or backslash in it';
        throw new PmcredError('bad-request', "the path $path $why");
    }
    $token = getToken($profile);
    $answer = send($token, $path, $method, $body, $contentType);
    if ($answer[0] !== 401) {
        return $answer;
    }
    return send(reject($profile, $token->accessToken), $path, $method, $body, $contentType);
}

/** Tell whether a path stays where it is put: '@elsewhere/' would be another host, and '/../' another place. */
function isPlain(string $path): bool
{
    // Many a server takes %2f and %5c for a slash before it looks for dots, and drops what follows a semicolon.
    $dots = '~(?:/|%2f|%5c)(?:\.|%2e){1,2}(?=[/;]|%2f|%5c|$)~iD';
    return str_starts_with($path, '/') && !preg_match('~[\\\\\x00-\x1f]~', $path) && !preg_match($dots, $path);
}

/** @return array{int, string} */
function send(Token $token, string $path, string $method, ?string $body, string $contentType): array
{
    // Where JSON is not what is asked for first, a refused token is answered with the login page and not with a 401.
    $headers = ["Authorization: Bearer $token->accessToken", 'Accept: application/json', "Content-Type: $contentType"];
    $options = ['method' => $method, 'content' => $body, 'ignore_errors' => true, 'follow_location' => 0];
    $context = stream_context_create(['http' => $options + ['header' => $headers]]);
    $stream = @fopen($token->url . $path, 'r', false, $context);
    if ($stream === false) {
        throw new \RuntimeException(error_get_last()['message'] ?? "$token->url does not answer");
    }
    $status = explode(' ', stream_get_meta_data($stream)['wrapper_data'][0])[1];
    return [(int) $status, (string) stream_get_contents($stream)];
}

/**
 * Send a request of the protocol and give the blocks of its answer: ask('status', 'prod'). No streams.
 *
 * @param array<string, null|int|string> $keys
 * @return list<array<string, string>>
 */
function ask(string $verb, string $target = '', array $keys = []): array
{
    $line = $verb . ' ' . rawurlencode($target);
    foreach (array_filter($keys, fn ($value) => $value !== null) as $key => $value) {
        $line .= " $key=" . rawurlencode((string) $value);
    }
    $connection = connect();
    try {
        @fwrite($connection, "$line\n");
        return parseAnswer(linesOf($connection, ($keys['timeout'] ?? 60) + 10));
    } finally {
        fclose($connection);
    }
}

/** @param list<array<string, string>> $blocks */
function toToken(array $blocks): Token
{
    $block = $blocks[0] ?? [];
    $time = fn (string $key): ?int => isset($block[$key]) ? (int) $block[$key] : null;
    return new Token(
        $block['access_token'] ?? throw nonsense(),
        $block['token_type'] ?? 'Bearer',
        $block['profile'] ?? '',
        $block['url'] ?? '',
        $time('expires_at'),
        $time('good_until'),
    );
}

/** @return list<string> */
function socketPaths(int $uid): array
{
    if ($named = getenv('PMCRED_SOCKET')) {
        return [$named];
    }
    $absolute = fn (string $name): string => str_starts_with($path = (string) getenv($name), '/') ? $path : '';
    $runtime = $absolute('XDG_RUNTIME_DIR');
    $base = $absolute('XDG_STATE_HOME') ?: getenv('HOME') . '/.local/state';
    $state = getenv('PMCRED_STATE_DIR') ?: "$base/pmcred";
    $found = ["/run/user/$uid/pmcred/socket", "$state/run/socket"];
    return $runtime === '' ? $found : ["$runtime/pmcred/socket", ...$found];
}

/** The effective user id. Not getmyuid(): that is who owns the script. Without ext-posix the kernel is asked itself. */
function effectiveUid(): int
{
    if (function_exists('posix_geteuid')) {
        return posix_geteuid();
    }
    preg_match('/^Uid:\s+\d+\s+(\d+)/m', (string) @file_get_contents('/proc/self/status'), $found);
    return (int) ($found[1] ?? throw new PmcredError('no-daemon', 'your user id is not known without ext-posix'));
}

/**
 * Connect to the first socket that answers; what was wrong with the others is told if none does.
 *
 * @return resource
 */
function connect()
{
    $uid = effectiveUid();
    $tried = '';
    foreach (socketPaths($uid) as $path) {
        $why = wrongDirectory(dirname($path), $uid);
        if ($why === '' && strlen($path) > 107) {
            $why = 'a path so long cannot be a socket\'s'; // PHP would cut it off, and that is another socket
        }
        if ($why === '') {
            $connection = @stream_socket_client("unix://$path", $number, $why, 10);
            if ($connection !== false) {
                return $connection;
            }
        }
        $tried .= "\n  $path: $why";
    }
    throw new PmcredError('no-daemon', "no daemon answers$tried", 'pmcred service install');
}

/**
 * PHP has no SO_PEERCRED: which user listens, as the protocol wants it checked, cannot be asked here. So the directory
 * has to vouch for its socket: it is ours and nobody else can enter it, so nobody else has put it there.
 */
function wrongDirectory(string $directory, int $uid): string
{
    clearstatcache();
    $found = @lstat($directory);
    return match (true) {
        $uid === 65534 => 'you are nobody (uid 65534), as others are',
        $found === false => 'there is no such directory',
        ($found['mode'] & 0170000) !== 0040000 => 'its directory is not a directory (symbolic links are not followed)',
        $found['uid'] !== $uid => "its directory belongs to uid {$found['uid']}, not to you (uid $uid)",
        ($found['mode'] & 0077) !== 0 => 'others can enter its directory: it must have mode 0700',
        default => '',
    };
}

/**
 * Give the lines that come, for so many seconds.
 *
 * @param resource $connection
 * @return \Generator<int, string>
 */
function linesOf($connection, int $seconds): \Generator
{
    $deadline = hrtime(true) / 1e9 + $seconds;
    $rest = '';
    while (true) {
        $left = (int) ceil($deadline - hrtime(true) / 1e9);
        stream_set_timeout($connection, max($left, 1));
        $piece = (string) @fread($connection, 65536);
        if ($left <= 0 || stream_get_meta_data($connection)['timed_out']) {
            throw new PmcredError('waiting', "the daemon has not answered within $seconds s");
        }
        if ($piece === '') {
            $why = 'the connection to the daemon broke: it was closed before the answer was whole';
            throw new PmcredError('stopping', $why, 'pmcred status');
        }
        $lines = explode("\n", $rest . $piece);
        $rest = array_pop($lines); // what has no newline yet
        foreach ($lines as $line) {
            yield $line;
        }
    }
}

function nonsense(): PmcredError
{
    return new PmcredError('internal', 'the daemon\'s answer makes no sense');
}

/**
 * Give the blocks of an answer, and take no line more than it has.
 *
 * @param \Generator<int, string> $lines
 * @return list<array<string, string>>
 */
function parseAnswer(\Generator $lines): array
{
    $pattern = '/^(?:ok(?: (?<count>\d+))?|error (?<code>\S+))$/D';
    if (!preg_match($pattern, $lines->current(), $head, PREG_UNMATCHED_AS_NULL)) {
        throw nonsense();
    }
    $blocks = [];
    $block = [];
    while (count($blocks) < (int) ($head['count'] ?? 1)) {
        $lines->next();
        $line = $lines->current();
        if ($line === '') {
            $blocks[] = $block;
            $block = [];
        } elseif (strpos($line, '=')) {
            [$key, $value] = explode('=', $line, 2);
            $block[$key] ??= rawurldecode($value); // of two the first counts
        } else {
            throw nonsense();
        }
    }
    if (isset($head['code'])) {
        throw new PmcredError($head['code'], $blocks[0]['message'] ?? '', $blocks[0]['hint'] ?? '');
    }
    return $blocks;
}
