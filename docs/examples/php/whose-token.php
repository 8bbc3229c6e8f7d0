<?php
// Tell whose token it is, and call the API with it. No extension and no package is needed.
require __DIR__ . '/pmcred.php';

try {
    [$status, $body] = Pmcred\callApi('prod', '/api/1.0/users?per_page=100');
    if ($status !== 200) {
        throw new RuntimeException("ProcessMaker answered $status");
    }
    [$profile] = Pmcred\ask('status', 'prod');
    echo 'The token of ', $profile['user_name'] ?? 'nobody known', " sees these users:\n";
    foreach (json_decode($body)->data as $user) {
        echo "$user->id $user->username\n";
    }
} catch (RuntimeException $error) {
    fwrite(STDERR, $error->getMessage() . "\n");
    if ($error instanceof Pmcred\PmcredError && $error->hint) {
        fwrite(STDERR, "  try: $error->hint\n");
    }
    exit(1);
}
