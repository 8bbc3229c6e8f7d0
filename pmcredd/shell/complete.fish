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
{{words}}
