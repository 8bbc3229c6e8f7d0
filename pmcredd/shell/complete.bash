# The names of the profiles, a line each: from the daemon, else from the files.
__pmcred_profiles() {
  local _pmcred_answer='' _pmcred_line
  if ! __pmcred_ask list 1 2>/dev/null; then
    command pmcred shell-init --profiles </dev/null 2>/dev/null
    return 0
  fi
  while IFS= read -r _pmcred_line; do
    case $_pmcred_line in profile=*) builtin printf '%s\n' "${_pmcred_line#*=}" ;; esac
  done <<<"$_pmcred_answer"
}

# Offers what may stand where the cursor is; $1 says of what kind that is, $2 is what has been typed of it.
__pmcred_offer() {
  local IFS=$' \t\n' word found=''
  case $1 in
  @file)
    compopt -o default 2>/dev/null # readline's own, which knows of spaces and ~
    return 0
    ;;
  @command) found=$(\compgen -A command -- "$2") ;;
  @profile) found=$(\__pmcred_profiles) ;;
  *) found=${1//|/$'\n'} ;;
  esac
  # Not compgen -W: it would run what looks like a command.
  while IFS= read -r word; do
    if [[ $word && $word == "$2"* && $word != *[!A-Za-z0-9._-]* ]]; then COMPREPLY+=("$word"); fi
  done <<<"$found"
}

_pmcred() {
  local IFS=$' \t\n' verb='' word typed=${COMP_WORDS[COMP_CWORD]-} kind='' ended='' i
  local below options valued
  local -a operands
  COMPREPLY=()
  __pmcred_words ''
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=${COMP_WORDS[i]}
    if [[ ! $ended && $word == -- ]]; then
      ended=yes
      if [[ ${operands[*]-} == *@command* ]]; then operands=(@command '@file*'); fi
    elif [[ ! $ended && $word == -* ]]; then
      if [[ " $valued " != *" $word="* ]]; then continue; fi
      kind=${valued##*"$word="}
      kind=${kind%% *}
      # bash makes three words of --for=30m.
      if [[ ${COMP_WORDS[i + 1]} == '=' ]]; then i=$((i + 1)); fi
      i=$((i + 1))
      if ((i == COMP_CWORD - 1)) && [[ ${COMP_WORDS[i]} == '=' ]]; then i=$((i + 1)); fi
      if ((i >= COMP_CWORD)); then
        if [[ $typed == '=' ]]; then typed=''; fi
        __pmcred_offer "$kind" "$typed"
        return 0
      fi
    elif [[ ! $ended && " $below " == *" $word "* ]]; then
      verb="${verb:+$verb }$word"
      __pmcred_words "$verb"
    elif ((${#operands[@]} > 0)) && [[ ${operands[0]} != *'*' ]]; then
      operands=("${operands[@]:1}")
    fi
  done
  if [[ ! $ended && $typed == -* ]]; then
    __pmcred_offer "${options// /|}" "$typed"
  elif [[ $below ]]; then
    __pmcred_offer "${below// /|}" "$typed"
  elif ((${#operands[@]} > 0)); then
    kind=${operands[0]}
    __pmcred_offer "${kind%'*'}" "$typed"
  fi
  return 0
}

# What may follow each verb, made of the command line itself: @kinds, or words with | between.
{{words}}

complete -F _pmcred pmcred
