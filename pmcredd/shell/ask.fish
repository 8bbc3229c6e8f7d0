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
