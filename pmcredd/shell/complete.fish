function __pmcred_profiles
    set -l lines (__pmcred_ask list 1)
    if test $status -eq 0
        string match -r '\Aprofile=.*' -- $lines | string replace profile= ''
    else
        command pmcred shell-init --profiles </dev/null 2>/dev/null
    end
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
