# `get` and `header` without an interpreter. All else, and every answer but a token, is the command's.
function pmcred
    __pmcred_get $argv 2>/dev/null; or command pmcred $argv
end

function __pmcred_get
    set -l fish_trace # or it would show the token
    set -l prefix
    contains -- "$argv[1]" get header; or return 1
    test $argv[1] = header; and set prefix 'Authorization: Bearer '
    set -l name "$argv[2]"
    set -l lasting
    switch (count $argv):"$argv[3]"
        case 1:
            set -qx PMCRED_PROFILE; or return 1
            set name "$PMCRED_PROFILE"
        case 2:
        case '3:--for=?*'
            set lasting "$argv[3]"
        case 4:--for
            set lasting --for="$argv[4]"
        case '*'
            return 1
    end
    # A newline in one of these would be a second request.
    string match -qr '\A[A-Za-z0-9][A-Za-z0-9._-]* (--for=[A-Za-z0-9._-]+)?\z' -- "$name $lasting"; or return 1
    set -l request get $name (string replace -- --for= for= "$lasting")
    set -lu answer (__pmcred_ask (string trim -- "$request") 120); or return 1
    # The daemon gives the token first; in another order, the command finds it.
    string match -q ok -- "$answer[1]"; and string match -q 'access_token=?*' -- "$answer[2]"; or return 1
    builtin printf '%s%s\n' "$prefix" (string replace access_token= '' -- "$answer[2]")
end
