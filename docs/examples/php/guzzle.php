<?php
// A Guzzle middleware: each request carries the token of a profile of pmcredd. For Guzzle 7, on top of pmcred.php.
// SPDX-License-Identifier: MIT - copy this file freely.

declare(strict_types=1);

namespace Pmcred;

use GuzzleHttp\Promise\PromiseInterface;
use GuzzleHttp\Psr7\UriComparator;
use Psr\Http\Message\RequestInterface;
use Psr\Http\Message\ResponseInterface;
use Psr\Http\Message\UriInterface;

require_once __DIR__ . '/pmcred.php';

/**
 * Give requests to the profile's ProcessMaker its token. One that is refused with a 401 is reported, and the request is
 * sent once more with the next token, if its body can be read again.
 *
 * Push it last: then it sees each 401 before Guzzle makes an exception of it, and the target of each redirect, too.
 */
function guzzleMiddleware(string $profile): callable
{
    return fn (callable $handler) => function (RequestInterface $request, array $options) use ($handler, $profile) {
        $token = getToken($profile);
        if (!isFor($token, $request->getUri())) {
            return $handler($request, $options); // a redirect to elsewhere: the token is none of its business
        }
        $request = $request->withHeader('Accept', $request->getHeaderLine('Accept') ?: 'application/json');
        $send = fn (Token $token): PromiseInterface =>
            $handler($request->withHeader('Authorization', "Bearer $token->accessToken"), $options);
        return $send($token)->then(function (ResponseInterface $answer) use ($send, $request, $profile, $token) {
            if ($answer->getStatusCode() !== 401) {
                return $answer;
            }
            $next = reject($profile, $token->accessToken);
            if (!$request->getBody()->isSeekable()) {
                return $answer;
            }
            $request->getBody()->rewind();
            return $send($next);
        });
    };
}

function isFor(Token $token, UriInterface $uri): bool
{
    $base = new \GuzzleHttp\Psr7\Uri($token->url);
    $path = $uri->getPath() . '/'; // the url itself is its own, too
    $inside = str_starts_with($path, rtrim($base->getPath(), '/') . '/') && isPlain($path);
    return $inside && !UriComparator::isCrossOrigin($base, $uri);
}
