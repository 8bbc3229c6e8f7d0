# Completion of pmcred for fish. Made of the command line; to make it anew: cd tests && python -m support.completions

# A request to the daemon, for the function and for the completion: prints the lines of an answer, if it is whole.
# $argv[1]: the request; $argv[2]: seconds. What a command would not be told, a variable of this shell alone, is told to
# nobody.
function __pmcred_ask
    set -l fish_trace # or it would show the token
    for name in PMCRED_SOCKET XDG_RUNTIME_DIR PMCRED_STATE_DIR XDG_STATE_HOME HOME
        set -q $name; and not set -qx $name; and return 1
    end
    # Whoever is not mapped into a user namespace is nobody there, and looks like everybody else.
    test "$EUID" = 65534; and return 1
    set -l state "$HOME"/.local/state/pmcred
    test -n "$XDG_STATE_HOME"; and set state "$XDG_STATE_HOME"/pmcred
    test -n "$PMCRED_STATE_DIR"; and set state "$PMCRED_STATE_DIR"
    set -l places "$XDG_RUNTIME_DIR"/pmcred/socket /run/user/"$EUID"/pmcred/socket "$state"/run/socket
    test -n "$PMCRED_SOCKET"; and set places "$PMCRED_SOCKET"
    for place in $places
        set -l directory (string replace -r '/[^/]*\z' '' -- "$place" | string collect)
        # No shell can ask who listens. Who has made the socket does, and in a directory of ours that is us.
        string match -q '/*' -- "$place"; and test -d "$directory" -a ! -L "$directory" -a -O "$directory"; or continue
        test -S "$place" -a -O "$place"; or continue
        set -lu answer # -u: exported to no command, whatever else has this name
        set -l failed 1
        if command -sq nc
            set answer (builtin printf '%s\n' $argv[1] | command nc -N -w $argv[2] -U $place 2>/dev/null)
            set failed $status
        end
        # Another netcat than OpenBSD's knows no -N. To socat, some characters of a path mean something.
        if test $failed -ne 0; and string match -qr '\A[A-Za-z0-9 /._-]+\z' -- "$place"; and command -sq socat
            set answer (builtin printf '%s\n' $argv[1] | command socat -t $argv[2] -T $argv[2] - UNIX-CONNECT:$place 2>/dev/null)
            set failed $status
        end
        if test $failed -eq 0 -a -z "$answer[-1]"; and string match -qr '\Aok( |\z)' -- "$answer[1]"
            builtin printf '%s\n' $answer
            return 0
        end
    end
    return 1
end

# The names of the profiles: from the daemon, else from the files.
function __pmcred_profiles
    set -l lines (__pmcred_ask list 1)
    if test $status -ne 0; and command -sq pmcred # fish tells of a missing command wherever stderr goes
        set lines profile=(command pmcred shell-init --profiles </dev/null 2>/dev/null)
    end
    string match -r '\Aprofile=[A-Za-z0-9][A-Za-z0-9._-]*\z' -- $lines '' | string replace profile= ''
end

# A command and its arguments, after --.
function __pmcred_command
    set -l words (commandline -opc)
    set -l at (contains -i -- -- $words); or return
    set words (string escape -- $words[(math $at + 1)..-1]) (commandline -ct)
    complete -C "$words"
end

# Whether the verb $argv[1] is being completed, at its operand number $argv[2], if that is given; 3+ is the third or later.
function __pmcred_at
    set -l verb
    set -l number 1
    set -l skip
    set -l ended
    for word in (commandline -opc)[2..]
        if test -n "$skip"
            set skip
        else if test -z "$ended" -a "$word" = --
            set ended yes
        else if test -z "$ended"; and string match -q -- '-*' $word
            contains -- $word (__pmcred_words valued "$verb"); and set skip yes
        else if test -z "$ended"; and contains -- $word (__pmcred_words below "$verb")
            set verb (string join ' ' $verb $word)
        else
            set number (math $number + 1)
        end
    end
    test "$verb" = "$argv[1]"; or return 1
    switch "$argv[2]"
        case ''
            test -z "$ended"
        case '*+'
            test $number -ge (string replace + '' $argv[2])
        case '*'
            test $number -eq $argv[2]
    end
end

# What may follow each verb, made of the command line itself.
function __pmcred_words
    switch "$argv"
        case 'below '
            printf '%s\n' get header exec env api reject status doctor watch log login logout init profile service shell-init reload stop credential demo sandbox
        case 'valued '
            printf '%s\n' --socket
        case 'valued get'
            printf '%s\n' --socket --for --timeout
        case 'valued header'
            printf '%s\n' --socket --for --timeout
        case 'valued exec'
            printf '%s\n' --socket --for --timeout
        case 'valued env'
            printf '%s\n' --socket --for --timeout --shell
        case 'valued api'
            printf '%s\n' --socket --data --header --timeout
        case 'valued reject'
            printf '%s\n' --socket --timeout
        case 'valued status'
            printf '%s\n' --socket --min-valid
        case 'valued doctor'
            printf '%s\n' --socket
        case 'valued watch'
            printf '%s\n' --socket
        case 'valued log'
            printf '%s\n' --socket
        case 'valued login'
            printf '%s\n' --socket --timeout
        case 'valued logout'
            printf '%s\n' --socket
        case 'valued init'
            printf '%s\n' --socket --name --url --grant --generation --workspace --client-id --client-secret-file --client-secret-command --client-secret-env --client-secret-credential --client-auth --username --expect-user --password-file --password-command --password-env --password-credential --token-file --token-command --token-env --token-credential --scope --token-path --authorize-path --redirect-uri --ca-file --client-cert --client-key --proxy --timeout --renew-margin --refresh-token-lifetime --store-secrets
        case 'below profile'
            printf '%s\n' list show add edit remove schema
        case 'valued profile'
            printf '%s\n' --socket
        case 'valued profile list'
            printf '%s\n' --socket
        case 'valued profile show'
            printf '%s\n' --socket
        case 'valued profile add'
            printf '%s\n' --socket --url --grant --generation --workspace --client-id --client-secret-file --client-secret-command --client-secret-env --client-secret-credential --client-auth --username --expect-user --password-file --password-command --password-env --password-credential --token-file --token-command --token-env --token-credential --scope --token-path --authorize-path --redirect-uri --ca-file --client-cert --client-key --proxy --timeout --renew-margin --refresh-token-lifetime --store-secrets
        case 'valued profile edit'
            printf '%s\n' --socket
        case 'valued profile remove'
            printf '%s\n' --socket
        case 'valued profile schema'
            printf '%s\n' --socket
        case 'below service'
            printf '%s\n' install uninstall
        case 'valued service'
            printf '%s\n' --socket
        case 'valued service install'
            printf '%s\n' --socket
        case 'valued service uninstall'
            printf '%s\n' --socket
        case 'valued shell-init'
            printf '%s\n' --socket
        case 'valued reload'
            printf '%s\n' --socket
        case 'valued stop'
            printf '%s\n' --socket
        case 'below credential'
            printf '%s\n' get store erase capability install uninstall
        case 'valued credential'
            printf '%s\n' --socket --for --timeout
        case 'valued credential get'
            printf '%s\n' --socket --for --timeout
        case 'valued credential store'
            printf '%s\n' --socket
        case 'valued credential erase'
            printf '%s\n' --socket --timeout
        case 'valued credential capability'
            printf '%s\n' --socket
        case 'valued credential install'
            printf '%s\n' --socket --file
        case 'valued credential uninstall'
            printf '%s\n' --socket --file
        case 'valued demo'
            printf '%s\n' --socket
        case 'valued sandbox'
            printf '%s\n' --socket --port --pm4-version --workspace --token-lifetime --refresh-lifetime --personal-lifetime --throttle --clock-offset --fault
    end
end

complete -c pmcred -f
complete -c pmcred -s h -l help -d 'show this help message and exit'
complete -c pmcred -l socket -r -F -d 'where the daemon listens'
complete -c pmcred -s v -l verbose -d 'tell on stderr what is asked'
complete -c pmcred -l version -d 'print the version'
complete -c pmcred -n "__pmcred_at '' 1" -a get -d 'print a living access token'
complete -c pmcred -n "__pmcred_at '' 1" -a header -d 'print it as an Authorization header, for curl -H @<(pmcred header NAME)'
complete -c pmcred -n "__pmcred_at '' 1" -a exec -d 'run a command with the token in its environment: pmcred exec NAME -- COMMAND'
complete -c pmcred -n "__pmcred_at '' 1" -a env -d 'print the same for a shell: eval "$(pmcred env NAME)"'
complete -c pmcred -n "__pmcred_at '' 1" -a api -d 'call the instance with the token: pmcred api NAME GET /users'
complete -c pmcred -n "__pmcred_at '' 1" -a reject -d 'tell that a server refused a token (read from stdin): get another one'
complete -c pmcred -n "__pmcred_at '' 1" -a status -d 'show each profile\'s token and what ails it'
complete -c pmcred -n "__pmcred_at '' 1" -a doctor -d 'look at everything that a token needs, and say what mends what is wrong'
complete -c pmcred -n "__pmcred_at '' 1" -a watch -d 'tell of every new token and every change, as it happens'
complete -c pmcred -n "__pmcred_at '' 1" -a log -d 'tell who asked for which token, when, and what came of it'
complete -c pmcred -n "__pmcred_at '' 1" -a login -d 'log in, in the browser where that is how it goes'
complete -c pmcred -n "__pmcred_at '' 1" -a logout -d 'forget the tokens, and revoke the access token where the server can'
complete -c pmcred -n "__pmcred_at '' 1" -a init -d 'make a profile by answering questions, and test it'
complete -c pmcred -n "__pmcred_at '' 1" -a profile -d 'list, show, add, edit or remove profiles'
complete -c pmcred -n "__pmcred_at '' 1" -a service -d 'install or uninstall the daemon as a service of systemd'
complete -c pmcred -n "__pmcred_at '' 1" -a shell-init -d 'a faster pmcred and completion for your shell: eval "$(pmcred shell-init bash)"'
complete -c pmcred -n "__pmcred_at '' 1" -a reload -d 'read the profiles again'
complete -c pmcred -n "__pmcred_at '' 1" -a stop -d 'end the daemon'
complete -c pmcred -n "__pmcred_at '' 1" -a credential -d 'be git\'s credential helper: pmcred credential install NAME'
complete -c pmcred -n "__pmcred_at '' 1" -a demo -d 'see all of it work in a few seconds, and leave nothing behind'
complete -c pmcred -n "__pmcred_at '' 1" -a sandbox -d 'run a look-alike ProcessMaker on this machine'
complete -c pmcred -n "__pmcred_at 'get'" -l json -d 'print an object: token, profile, url, expiry'
complete -c pmcred -n "__pmcred_at 'get'" -l for -x -d 'the token must stay good so long: 90s, 30m, 8h'
complete -c pmcred -n "__pmcred_at 'get'" -l timeout -x -d 'how long to wait for a token (default: 60)'
complete -c pmcred -n "__pmcred_at 'get'" -l oneshot -d 'where no daemon answers, do its work for this one request'
complete -c pmcred -n "__pmcred_at 'get'" -l no-refresh -d 'the token that is there or none: ask ProcessMaker for nothing'
complete -c pmcred -n "__pmcred_at 'get' 1" -a '(__pmcred_profiles)'
complete -c pmcred -n "__pmcred_at 'header'" -l for -x -d 'the token must stay good so long: 90s, 30m, 8h'
complete -c pmcred -n "__pmcred_at 'header'" -l timeout -x -d 'how long to wait for a token (default: 60)'
complete -c pmcred -n "__pmcred_at 'header'" -l oneshot -d 'where no daemon answers, do its work for this one request'
complete -c pmcred -n "__pmcred_at 'header'" -l no-refresh -d 'the token that is there or none: ask ProcessMaker for nothing'
complete -c pmcred -n "__pmcred_at 'header' 1" -a '(__pmcred_profiles)'
complete -c pmcred -n "__pmcred_at 'exec'" -l for -x -d 'the token must stay good so long: 90s, 30m, 8h'
complete -c pmcred -n "__pmcred_at 'exec'" -l timeout -x -d 'how long to wait for a token (default: 60)'
complete -c pmcred -n "__pmcred_at 'exec'" -l oneshot -d 'where no daemon answers, do its work for this one request'
complete -c pmcred -n "__pmcred_at 'exec'" -l no-refresh -d 'the token that is there or none: ask ProcessMaker for nothing'
complete -c pmcred -n "__pmcred_at 'exec'" -l script-task -d 'also set what ProcessMaker 4 gives its script tasks: API_TOKEN, API_HOST, HOST_URL, APP_URL, API_SSL_VERIFY'
complete -c pmcred -n "__pmcred_at 'exec'" -l fd -d 'hand the token over in an open file, not in the environment'
complete -c pmcred -n "__pmcred_at 'exec' 1" -a '(__pmcred_profiles)'
complete -c pmcred -n "__pmcred_at 'exec' 2+" -a '(__pmcred_command)'
complete -c pmcred -n "__pmcred_at 'env'" -l for -x -d 'the token must stay good so long: 90s, 30m, 8h'
complete -c pmcred -n "__pmcred_at 'env'" -l timeout -x -d 'how long to wait for a token (default: 60)'
complete -c pmcred -n "__pmcred_at 'env'" -l oneshot -d 'where no daemon answers, do its work for this one request'
complete -c pmcred -n "__pmcred_at 'env'" -l no-refresh -d 'the token that is there or none: ask ProcessMaker for nothing'
complete -c pmcred -n "__pmcred_at 'env'" -l script-task -d 'also set what ProcessMaker 4 gives its script tasks: API_TOKEN, API_HOST, HOST_URL, APP_URL, API_SSL_VERIFY'
complete -c pmcred -n "__pmcred_at 'env'" -l shell -x -a 'sh bash zsh fish' -d 'whose commands (default: sh)'
complete -c pmcred -n "__pmcred_at 'env'" -l unset -d 'print the commands that take the variables away'
complete -c pmcred -n "__pmcred_at 'env' 1" -a '(__pmcred_profiles)'
complete -c pmcred -n "__pmcred_at 'api'" -l data -x -d 'what to send'
complete -c pmcred -n "__pmcred_at 'api'" -l header -x -d 'send this header, too'
complete -c pmcred -n "__pmcred_at 'api'" -l include -d 'print the status and the headers first'
complete -c pmcred -n "__pmcred_at 'api'" -l raw -d 'print every byte as it came, on a terminal too'
complete -c pmcred -n "__pmcred_at 'api'" -l timeout -x -d 'how long the answer may take to begin, and to pause (default: the profile\'s timeout)'
complete -c pmcred -n "__pmcred_at 'api' 1" -a '(__pmcred_profiles)'
complete -c pmcred -n "__pmcred_at 'api' 2" -a 'GET HEAD POST PUT PATCH DELETE OPTIONS'
complete -c pmcred -n "__pmcred_at 'reject'" -l get -d 'print the token to use instead'
complete -c pmcred -n "__pmcred_at 'reject'" -l json -d 'print an object'
complete -c pmcred -n "__pmcred_at 'reject'" -l timeout -x -d 'how long to wait (default: 60)'
complete -c pmcred -n "__pmcred_at 'reject' 1" -a '(__pmcred_profiles)'
complete -c pmcred -n "__pmcred_at 'status'" -l json -d 'for programs'
complete -c pmcred -n "__pmcred_at 'status'" -l explain -d 'say what comes next for each token, when, and why'
complete -c pmcred -n "__pmcred_at 'status'" -l min-valid -x -d 'for cron and CI: print nothing and exit with 0 if every token is valid for so long (8h, 2d)'
complete -c pmcred -n "__pmcred_at 'status' 1+" -a '(__pmcred_profiles)'
complete -c pmcred -n "__pmcred_at 'doctor'" -l json -d 'for programs'
complete -c pmcred -n "__pmcred_at 'doctor' 1" -a '(__pmcred_profiles)'
complete -c pmcred -n "__pmcred_at 'watch'" -l token -d 'give the access token in place of its fingerprint'
complete -c pmcred -n "__pmcred_at 'watch'" -l json -d 'an object on each line'
complete -c pmcred -n "__pmcred_at 'watch' 1" -a '(__pmcred_profiles)'
complete -c pmcred -n "__pmcred_at 'log'" -s f -l follow -d 'go on as things happen, until interrupted'
complete -c pmcred -n "__pmcred_at 'log'" -l json -d 'an object on each line'
complete -c pmcred -n "__pmcred_at 'log' 1" -a '(__pmcred_profiles)'
complete -c pmcred -n "__pmcred_at 'login'" -l no-browser -d 'print the URL for a browser elsewhere, and take the address that it ends on'
complete -c pmcred -n "__pmcred_at 'login'" -l as-new-user -d 'take whoever the browser logs in, also if it was somebody else before'
complete -c pmcred -n "__pmcred_at 'login'" -l timeout -x -d 'how long to wait'
complete -c pmcred -n "__pmcred_at 'login' 1" -a '(__pmcred_profiles)'
complete -c pmcred -n "__pmcred_at 'logout'" -l all -d 'log out of every profile'
complete -c pmcred -n "__pmcred_at 'logout'" -l revoke -d 'revoke a personal access token too, which only a person can replace (other access tokens are anyway)'
complete -c pmcred -n "__pmcred_at 'logout' 1" -a '(__pmcred_profiles)'
complete -c pmcred -n "__pmcred_at 'init'" -l name -x -d 'of the profile (default: from the address)'
complete -c pmcred -n "__pmcred_at 'init'" -l url -x -d 'The address of the instance, as its users open it, without the path of a page.'
complete -c pmcred -n "__pmcred_at 'init'" -l grant -x -a 'client_credentials password authorization_code personal_access_token' -d 'How the profile gets its token.'
complete -c pmcred -n "__pmcred_at 'init'" -l generation -x -a '3 4' -d 'The generation of ProcessMaker that answers at url.'
complete -c pmcred -n "__pmcred_at 'init'" -l workspace -x -d 'The workspace of a ProcessMaker 3 instance.'
complete -c pmcred -n "__pmcred_at 'init'" -l client-id -x -d 'The id of the Auth Client in ProcessMaker'
complete -c pmcred -n "__pmcred_at 'init'" -l client-secret-file -r -F -d 'a file that holds nothing else'
complete -c pmcred -n "__pmcred_at 'init'" -l client-secret-command -x -d 'what this prints: \'pass show pm/prod\''
complete -c pmcred -n "__pmcred_at 'init'" -l client-secret-stdin -d 'one line of standard input'
complete -c pmcred -n "__pmcred_at 'init'" -l client-secret-env -x -d 'the environment of a pmcredd run by hand'
complete -c pmcred -n "__pmcred_at 'init'" -l client-secret-credential -x -d 'a systemd credential'
complete -c pmcred -n "__pmcred_at 'init'" -l client-auth -x -a 'basic body' -d 'Whether client_id and client_secret travel in an HTTP Basic header or in the body of the request.'
complete -c pmcred -n "__pmcred_at 'init'" -l username -x -d 'The name of the ProcessMaker user whose token it is.'
complete -c pmcred -n "__pmcred_at 'init'" -l expect-user -x -d 'Whose token it must be: a username, or the id of a user'
complete -c pmcred -n "__pmcred_at 'init'" -l password-file -r -F -d 'a file that holds nothing else'
complete -c pmcred -n "__pmcred_at 'init'" -l password-command -x -d 'what this prints: \'pass show pm/prod\''
complete -c pmcred -n "__pmcred_at 'init'" -l password-stdin -d 'one line of standard input'
complete -c pmcred -n "__pmcred_at 'init'" -l password-env -x -d 'the environment of a pmcredd run by hand'
complete -c pmcred -n "__pmcred_at 'init'" -l password-credential -x -d 'a systemd credential'
complete -c pmcred -n "__pmcred_at 'init'" -l token-file -r -F -d 'a file that holds nothing else'
complete -c pmcred -n "__pmcred_at 'init'" -l token-command -x -d 'what this prints: \'pass show pm/prod\''
complete -c pmcred -n "__pmcred_at 'init'" -l token-stdin -d 'one line of standard input'
complete -c pmcred -n "__pmcred_at 'init'" -l token-env -x -d 'the environment of a pmcredd run by hand'
complete -c pmcred -n "__pmcred_at 'init'" -l token-credential -x -d 'a systemd credential'
complete -c pmcred -n "__pmcred_at 'init'" -l scope -x -d 'The scopes to ask for, with one space between them'
complete -c pmcred -n "__pmcred_at 'init'" -l token-path -x -d 'The path of the token endpoint, below url, where a front end has moved it.'
complete -c pmcred -n "__pmcred_at 'init'" -l authorize-path -x -d 'The path of the page where a browser login starts, below url, where a front end has moved it.'
complete -c pmcred -n "__pmcred_at 'init'" -l redirect-uri -x -d 'Where a browser login ends on this machine, to the letter as the client in ProcessMaker has it.'
complete -c pmcred -n "__pmcred_at 'init'" -l ca-file -r -F -d 'A PEM file of the certificate authorities to trust instead of the system\'s.'
complete -c pmcred -n "__pmcred_at 'init'" -l client-cert -x -d 'A PEM file of the TLS client certificate that the server asks for.'
complete -c pmcred -n "__pmcred_at 'init'" -l client-key -x -d 'A PEM file of the client certificate\'s key, where client_cert does not hold both.'
complete -c pmcred -n "__pmcred_at 'init'" -l proxy -x -d 'The HTTP proxy to go through'
complete -c pmcred -n "__pmcred_at 'init'" -l timeout -x -d 'How long one exchange with the server may take, in seconds, from 1 to 600.'
complete -c pmcred -n "__pmcred_at 'init'" -l renew-margin -x -d 'How many seconds before a token\'s end its refresh may come, on ProcessMaker 4, from 10.'
complete -c pmcred -n "__pmcred_at 'init'" -l refresh-token-lifetime -x -d 'How many seconds a refresh token of this server lives, where that is shorter than usual, from 10.'
complete -c pmcred -n "__pmcred_at 'init'" -l bridge -l no-bridge -d 'Whether units of systemd\'s user manager may have the token as a credential (LoadCredential=).'
complete -c pmcred -n "__pmcred_at 'init'" -l store-secrets -x -a 'file profile' -d 'where secrets that are typed or piped in go: each to a file of its own (default), or into the profile'
complete -c pmcred -n "__pmcred_at 'init'" -l no-test -d 'send nothing to the server'
complete -c pmcred -n "__pmcred_at 'init'" -l yes -d 'where a question has a default, take it'
complete -c pmcred -n "__pmcred_at 'profile' 1" -a list -d 'the profiles, by name'
complete -c pmcred -n "__pmcred_at 'profile' 1" -a show -d 'one profile as it takes effect, without its secrets'
complete -c pmcred -n "__pmcred_at 'profile' 1" -a add -d 'write a new profile'
complete -c pmcred -n "__pmcred_at 'profile' 1" -a edit -d 'change a profile in your editor'
complete -c pmcred -n "__pmcred_at 'profile' 1" -a remove -d 'remove a profile that pmcred wrote'
complete -c pmcred -n "__pmcred_at 'profile' 1" -a schema -d 'the JSON Schema of profiles files, for editors'
complete -c pmcred -n "__pmcred_at 'profile list'" -l json -d 'for programs'
complete -c pmcred -n "__pmcred_at 'profile show' 1" -a '(__pmcred_profiles)'
complete -c pmcred -n "__pmcred_at 'profile add'" -l url -x -d 'The address of the instance, as its users open it, without the path of a page.'
complete -c pmcred -n "__pmcred_at 'profile add'" -l grant -x -a 'client_credentials password authorization_code personal_access_token' -d 'How the profile gets its token.'
complete -c pmcred -n "__pmcred_at 'profile add'" -l generation -x -a '3 4' -d 'The generation of ProcessMaker that answers at url.'
complete -c pmcred -n "__pmcred_at 'profile add'" -l workspace -x -d 'The workspace of a ProcessMaker 3 instance.'
complete -c pmcred -n "__pmcred_at 'profile add'" -l client-id -x -d 'The id of the Auth Client in ProcessMaker'
complete -c pmcred -n "__pmcred_at 'profile add'" -l client-secret-file -r -F -d 'a file that holds nothing else'
complete -c pmcred -n "__pmcred_at 'profile add'" -l client-secret-command -x -d 'what this prints: \'pass show pm/prod\''
complete -c pmcred -n "__pmcred_at 'profile add'" -l client-secret-stdin -d 'one line of standard input'
complete -c pmcred -n "__pmcred_at 'profile add'" -l client-secret-env -x -d 'the environment of a pmcredd run by hand'
complete -c pmcred -n "__pmcred_at 'profile add'" -l client-secret-credential -x -d 'a systemd credential'
complete -c pmcred -n "__pmcred_at 'profile add'" -l client-auth -x -a 'basic body' -d 'Whether client_id and client_secret travel in an HTTP Basic header or in the body of the request.'
complete -c pmcred -n "__pmcred_at 'profile add'" -l username -x -d 'The name of the ProcessMaker user whose token it is.'
complete -c pmcred -n "__pmcred_at 'profile add'" -l expect-user -x -d 'Whose token it must be: a username, or the id of a user'
complete -c pmcred -n "__pmcred_at 'profile add'" -l password-file -r -F -d 'a file that holds nothing else'
complete -c pmcred -n "__pmcred_at 'profile add'" -l password-command -x -d 'what this prints: \'pass show pm/prod\''
complete -c pmcred -n "__pmcred_at 'profile add'" -l password-stdin -d 'one line of standard input'
complete -c pmcred -n "__pmcred_at 'profile add'" -l password-env -x -d 'the environment of a pmcredd run by hand'
complete -c pmcred -n "__pmcred_at 'profile add'" -l password-credential -x -d 'a systemd credential'
complete -c pmcred -n "__pmcred_at 'profile add'" -l token-file -r -F -d 'a file that holds nothing else'
complete -c pmcred -n "__pmcred_at 'profile add'" -l token-command -x -d 'what this prints: \'pass show pm/prod\''
complete -c pmcred -n "__pmcred_at 'profile add'" -l token-stdin -d 'one line of standard input'
complete -c pmcred -n "__pmcred_at 'profile add'" -l token-env -x -d 'the environment of a pmcredd run by hand'
complete -c pmcred -n "__pmcred_at 'profile add'" -l token-credential -x -d 'a systemd credential'
complete -c pmcred -n "__pmcred_at 'profile add'" -l scope -x -d 'The scopes to ask for, with one space between them'
complete -c pmcred -n "__pmcred_at 'profile add'" -l token-path -x -d 'The path of the token endpoint, below url, where a front end has moved it.'
complete -c pmcred -n "__pmcred_at 'profile add'" -l authorize-path -x -d 'The path of the page where a browser login starts, below url, where a front end has moved it.'
complete -c pmcred -n "__pmcred_at 'profile add'" -l redirect-uri -x -d 'Where a browser login ends on this machine, to the letter as the client in ProcessMaker has it.'
complete -c pmcred -n "__pmcred_at 'profile add'" -l ca-file -r -F -d 'A PEM file of the certificate authorities to trust instead of the system\'s.'
complete -c pmcred -n "__pmcred_at 'profile add'" -l client-cert -x -d 'A PEM file of the TLS client certificate that the server asks for.'
complete -c pmcred -n "__pmcred_at 'profile add'" -l client-key -x -d 'A PEM file of the client certificate\'s key, where client_cert does not hold both.'
complete -c pmcred -n "__pmcred_at 'profile add'" -l proxy -x -d 'The HTTP proxy to go through'
complete -c pmcred -n "__pmcred_at 'profile add'" -l timeout -x -d 'How long one exchange with the server may take, in seconds, from 1 to 600.'
complete -c pmcred -n "__pmcred_at 'profile add'" -l renew-margin -x -d 'How many seconds before a token\'s end its refresh may come, on ProcessMaker 4, from 10.'
complete -c pmcred -n "__pmcred_at 'profile add'" -l refresh-token-lifetime -x -d 'How many seconds a refresh token of this server lives, where that is shorter than usual, from 10.'
complete -c pmcred -n "__pmcred_at 'profile add'" -l bridge -l no-bridge -d 'Whether units of systemd\'s user manager may have the token as a credential (LoadCredential=).'
complete -c pmcred -n "__pmcred_at 'profile add'" -l store-secrets -x -a 'file profile' -d 'where secrets that are typed or piped in go: each to a file of its own (default), or into the profile'
complete -c pmcred -n "__pmcred_at 'profile edit' 1" -a '(__pmcred_profiles)'
complete -c pmcred -n "__pmcred_at 'profile remove'" -l yes -d 'do not ask'
complete -c pmcred -n "__pmcred_at 'profile remove' 1" -a '(__pmcred_profiles)'
complete -c pmcred -n "__pmcred_at 'profile schema'" -l install -d 'keep it beside the profiles, where the files that pmcred writes from then on name it'
complete -c pmcred -n "__pmcred_at 'service' 1" -a install -d 'Write the units for this installation, enable and start them'
complete -c pmcred -n "__pmcred_at 'service' 1" -a uninstall -d 'End the service and take its units away'
complete -c pmcred -n "__pmcred_at 'shell-init'" -l profiles -d 'print the names of the profiles, for a completion'
complete -c pmcred -n "__pmcred_at 'shell-init' 1" -a 'bash zsh fish'
complete -c pmcred -n "__pmcred_at 'credential' 1" -a get -d 'answer with a token'
complete -c pmcred -n "__pmcred_at 'credential' 1" -a store -d 'do nothing'
complete -c pmcred -n "__pmcred_at 'credential' 1" -a erase -d 'tell that a server refused a token'
complete -c pmcred -n "__pmcred_at 'credential' 1" -a capability -d 'tell what we can'
complete -c pmcred -n "__pmcred_at 'credential' 1" -a install -d 'write pmcred into git\'s configuration'
complete -c pmcred -n "__pmcred_at 'credential' 1" -a uninstall -d 'take it out again'
complete -c pmcred -n "__pmcred_at 'credential'" -l for -x -d 'get: the token must stay good so long: 90s, 30m, 8h'
complete -c pmcred -n "__pmcred_at 'credential'" -l timeout -x -d 'get, erase: how long to wait for a token (default: 60)'
complete -c pmcred -n "__pmcred_at 'credential get'" -l for -x -d 'get: the token must stay good so long: 90s, 30m, 8h'
complete -c pmcred -n "__pmcred_at 'credential get'" -l timeout -x -d 'get, erase: how long to wait for a token (default: 60)'
complete -c pmcred -n "__pmcred_at 'credential erase'" -l timeout -x -d 'get, erase: how long to wait for a token (default: 60)'
complete -c pmcred -n "__pmcred_at 'credential install'" -l show -d 'print the lines, and write nothing'
complete -c pmcred -n "__pmcred_at 'credential install'" -l local -d 'in this repository\'s configuration, not in yours'
complete -c pmcred -n "__pmcred_at 'credential install'" -l file -r -F -d 'in this file of git\'s configuration'
complete -c pmcred -n "__pmcred_at 'credential install' 1+" -a '(__pmcred_profiles)'
complete -c pmcred -n "__pmcred_at 'credential uninstall'" -l local -d 'in this repository\'s configuration, not in yours'
complete -c pmcred -n "__pmcred_at 'credential uninstall'" -l file -r -F -d 'in this file of git\'s configuration'
complete -c pmcred -n "__pmcred_at 'credential uninstall' 1+" -a '(__pmcred_profiles)'
complete -c pmcred -n "__pmcred_at 'sandbox'" -l port -x -d 'TCP port on 127.0.0.1'
complete -c pmcred -n "__pmcred_at 'sandbox'" -l pm4-version -x -d 'the release of ProcessMaker 4 whose dialect is spoken (default: 4.15)'
complete -c pmcred -n "__pmcred_at 'sandbox'" -l passport-13 -d 'speak the dialect of Laravel Passport 13'
complete -c pmcred -n "__pmcred_at 'sandbox'" -l workspace -x -d 'the workspace of ProcessMaker 3 (default: workflow)'
complete -c pmcred -n "__pmcred_at 'sandbox'" -l token-lifetime -x -d 'access tokens live so long: 30s, 8h, 2d (default: as the real ones)'
complete -c pmcred -n "__pmcred_at 'sandbox'" -l refresh-lifetime -x -d 'refresh tokens live so long: 30s, 8h, 2d (default: as the real ones)'
complete -c pmcred -n "__pmcred_at 'sandbox'" -l personal-lifetime -x -d 'personal access tokens live so long: 30s, 8h, 2d (default: as the real ones)'
complete -c pmcred -n "__pmcred_at 'sandbox'" -l throttle -x -d 'requests a minute from one address to the token endpoint of ProcessMaker 4 (default: 60)'
complete -c pmcred -n "__pmcred_at 'sandbox'" -l clock-offset -x -d 'the servers\' clocks are ahead by so much: 10m'
complete -c pmcred -n "__pmcred_at 'sandbox'" -l fault -x -d 'what goes wrong, KIND[=TIME][:COUNT][@PERCENT%][,NAME=VALUE]...: lose-answer:3 loses the next three answers after acting, 503@10% refuses every tenth request'
complete -c pmcred -n "__pmcred_at 'sandbox'" -l quiet -d 'print the first line only, and log no requests'
