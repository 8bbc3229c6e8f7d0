"""Script tasks of ProcessMaker 4, as people write them: each prints the name of the first user that the API tells."""

PYTHON = """
import json, os, urllib.request

request = urllib.request.Request(
    os.environ["API_HOST"] + "/users?per_page=1",
    headers={"Authorization": "Bearer " + os.environ["API_TOKEN"], "Accept": "application/json"},
)
with urllib.request.urlopen(request) as answer:
    users = json.load(answer)
print(json.dumps({"first": users["data"][0]["username"], "from": os.environ["HOST_URL"]}))
"""

NODE = """
if (process.env['API_SSL_VERIFY'] === '0') process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = '0';

async function run() {
  const answer = await fetch(`${process.env.API_HOST}/users?per_page=1`, {
    headers: { Authorization: `Bearer ${process.env.API_TOKEN}`, Accept: 'application/json' },
  });
  const users = await answer.json();
  return { first: users.data[0].username, from: process.env.APP_URL };
}

run().then((result) => console.log(JSON.stringify(result)));
"""

PHP = """<?php
$context = stream_context_create([
    'http' => ['header' => 'Authorization: Bearer ' . getenv('API_TOKEN') . "\\r\\nAccept: application/json"],
    'ssl' => ['verify_peer' => (bool) getenv('API_SSL_VERIFY')],
]);
$users = json_decode(file_get_contents(getenv('API_HOST') . '/users?per_page=1', false, $context), true);
echo json_encode(['first' => $users['data'][0]['username'], 'from' => getenv('HOST_URL')], JSON_UNESCAPED_SLASHES);
"""
