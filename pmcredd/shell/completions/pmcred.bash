# Completion of pmcred for bash. Made of the command line; to make it anew: cd tests && python -m support.completions

# A request to the daemon, for the function and for the completion. Leaves the answer in _pmcred_answer, which is the
# caller's. To be called in a subshell: <(...) changes $!. And not $(...), which drops the newlines from the end: without
# those it might be half an answer.
# $1: the request; $2: seconds. What a command would not be told, a variable of this shell alone, is told to nobody.
__pmcred_ask() {
  local _pmcred_at _pmcred_in _pmcred_tool
  for _pmcred_at in PMCRED_SOCKET XDG_RUNTIME_DIR PMCRED_STATE_DIR XDG_STATE_HOME HOME; do
    if [[ -v $_pmcred_at && ${!_pmcred_at@a} != *x* ]]; then return 1; fi
  done
  # Whoever is not mapped into a user namespace is nobody there, and looks like everybody else.
  if ((EUID == 65534)); then return 1; fi
  local -a _pmcred_places=(
    "${XDG_RUNTIME_DIR-}/pmcred/socket" "/run/user/$EUID/pmcred/socket"
    "${PMCRED_STATE_DIR:-${XDG_STATE_HOME:-${HOME-}/.local/state}/pmcred}/run/socket"
  )
  if [[ ${PMCRED_SOCKET-} ]]; then _pmcred_places=("$PMCRED_SOCKET"); fi
  for _pmcred_at in "${_pmcred_places[@]}"; do
    _pmcred_in=${_pmcred_at%/*}
    # No shell can ask who listens. Who has made the socket does, and in a directory of ours that is us.
    if [[ $_pmcred_at != /* || ! -d $_pmcred_in || -L $_pmcred_in || ! -O $_pmcred_in ]]; then continue; fi
    if [[ ! -S $_pmcred_at || ! -O $_pmcred_at ]]; then continue; fi
    # Another netcat than OpenBSD's knows no -N. To socat, some characters of a path mean something.
    for _pmcred_tool in nc socat; do
      if ! type -P "$_pmcred_tool" >/dev/null; then continue; fi
      if [[ $_pmcred_tool == socat && $_pmcred_at == *[!A-Za-z0-9\ /._-]* ]]; then continue; fi
      # A backslash, since bash looks for aliases once more each time. The longest answer has half so many characters.
      case $_pmcred_tool in
      nc) read -r -N 2200000 _pmcred_answer < <(\exec nc -N -w "$2" -U "$_pmcred_at" <<<"$1") ;;
      *) read -r -N 2200000 _pmcred_answer < <(\exec socat -t "$2" -T "$2" - "UNIX-CONNECT:$_pmcred_at" <<<"$1") ;;
      esac
      if ! wait "$!"; then continue; fi
      if [[ $_pmcred_answer == ok[$' \n']*$'\n\n' ]]; then return 0; fi
      break
    done
  done
  return 1
}

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
__pmcred_words() {
  below='' options='' valued='' operands=()
  case $1 in
  '')
    below='get header exec env api reject status doctor watch log login logout init profile service shell-init reload stop credential demo sandbox'
    options='-h --help --socket -v --verbose --version'
    valued='--socket=@file'
    ;;
  'get')
    options='-h --help --socket -v --verbose --version --json --for --timeout --oneshot --no-refresh'
    valued='--socket=@file --for=- --timeout=-'
    operands=('@profile')
    ;;
  'header')
    options='-h --help --socket -v --verbose --version --for --timeout --oneshot --no-refresh'
    valued='--socket=@file --for=- --timeout=-'
    operands=('@profile')
    ;;
  'exec')
    options='-h --help --socket -v --verbose --version --for --timeout --oneshot --no-refresh --script-task --fd'
    valued='--socket=@file --for=- --timeout=-'
    operands=('@profile' '@command*')
    ;;
  'env')
    options='-h --help --socket -v --verbose --version --for --timeout --oneshot --no-refresh --script-task --shell --unset'
    valued='--socket=@file --for=- --timeout=- --shell=sh|bash|zsh|fish'
    operands=('@profile')
    ;;
  'api')
    options='-h --help --socket -v --verbose --version --data --header --include --raw --timeout'
    valued='--socket=@file --data=- --header=- --timeout=-'
    operands=('@profile' 'GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS' '-*')
    ;;
  'reject')
    options='-h --help --socket -v --verbose --version --get --json --timeout'
    valued='--socket=@file --timeout=-'
    operands=('@profile')
    ;;
  'status')
    options='-h --help --socket -v --verbose --version --json --explain --min-valid'
    valued='--socket=@file --min-valid=-'
    operands=('@profile*')
    ;;
  'doctor')
    options='-h --help --socket -v --verbose --version --json'
    valued='--socket=@file'
    operands=('@profile')
    ;;
  'watch')
    options='-h --help --socket -v --verbose --version --token --json'
    valued='--socket=@file'
    operands=('@profile')
    ;;
  'log')
    options='-h --help --socket -v --verbose --version -f --follow --json'
    valued='--socket=@file'
    operands=('@profile')
    ;;
  'login')
    options='-h --help --socket -v --verbose --version --no-browser --as-new-user --timeout'
    valued='--socket=@file --timeout=-'
    operands=('@profile')
    ;;
  'logout')
    options='-h --help --socket -v --verbose --version --all --revoke'
    valued='--socket=@file'
    operands=('@profile')
    ;;
  'init')
    options='-h --help --socket -v --verbose --version --name --url --grant --generation --workspace --client-id --client-secret-file --client-secret-command --client-secret-stdin --client-secret-env --client-secret-credential --client-auth --username --expect-user --password-file --password-command --password-stdin --password-env --password-credential --token-file --token-command --token-stdin --token-env --token-credential --scope --token-path --authorize-path --redirect-uri --ca-file --client-cert --client-key --proxy --timeout --renew-margin --refresh-token-lifetime --bridge --no-bridge --store-secrets --no-test --yes'
    valued='--socket=@file --name=- --url=- --grant=client_credentials|password|authorization_code|personal_access_token --generation=3|4 --workspace=- --client-id=- --client-secret-file=@file --client-secret-command=- --client-secret-env=- --client-secret-credential=- --client-auth=basic|body --username=- --expect-user=- --password-file=@file --password-command=- --password-env=- --password-credential=- --token-file=@file --token-command=- --token-env=- --token-credential=- --scope=- --token-path=- --authorize-path=- --redirect-uri=- --ca-file=@file --client-cert=- --client-key=- --proxy=- --timeout=- --renew-margin=- --refresh-token-lifetime=- --store-secrets=file|profile'
    ;;
  'profile')
    below='list show add edit remove schema'
    options='-h --help --socket -v --verbose --version'
    valued='--socket=@file'
    ;;
  'profile list')
    options='-h --help --socket -v --verbose --version --json'
    valued='--socket=@file'
    ;;
  'profile show')
    options='-h --help --socket -v --verbose --version'
    valued='--socket=@file'
    operands=('@profile')
    ;;
  'profile add')
    options='-h --help --socket -v --verbose --version --url --grant --generation --workspace --client-id --client-secret-file --client-secret-command --client-secret-stdin --client-secret-env --client-secret-credential --client-auth --username --expect-user --password-file --password-command --password-stdin --password-env --password-credential --token-file --token-command --token-stdin --token-env --token-credential --scope --token-path --authorize-path --redirect-uri --ca-file --client-cert --client-key --proxy --timeout --renew-margin --refresh-token-lifetime --bridge --no-bridge --store-secrets'
    valued='--socket=@file --url=- --grant=client_credentials|password|authorization_code|personal_access_token --generation=3|4 --workspace=- --client-id=- --client-secret-file=@file --client-secret-command=- --client-secret-env=- --client-secret-credential=- --client-auth=basic|body --username=- --expect-user=- --password-file=@file --password-command=- --password-env=- --password-credential=- --token-file=@file --token-command=- --token-env=- --token-credential=- --scope=- --token-path=- --authorize-path=- --redirect-uri=- --ca-file=@file --client-cert=- --client-key=- --proxy=- --timeout=- --renew-margin=- --refresh-token-lifetime=- --store-secrets=file|profile'
    operands=('-')
    ;;
  'profile edit')
    options='-h --help --socket -v --verbose --version'
    valued='--socket=@file'
    operands=('@profile')
    ;;
  'profile remove')
    options='-h --help --socket -v --verbose --version --yes'
    valued='--socket=@file'
    operands=('@profile')
    ;;
  'profile schema')
    options='-h --help --socket -v --verbose --version --install'
    valued='--socket=@file'
    ;;
  'service')
    below='install uninstall'
    options='-h --help --socket -v --verbose --version'
    valued='--socket=@file'
    ;;
  'service install')
    options='-h --help --socket -v --verbose --version'
    valued='--socket=@file'
    ;;
  'service uninstall')
    options='-h --help --socket -v --verbose --version'
    valued='--socket=@file'
    ;;
  'shell-init')
    options='-h --help --socket -v --verbose --version --profiles'
    valued='--socket=@file'
    operands=('bash|zsh|fish')
    ;;
  'reload')
    options='-h --help --socket -v --verbose --version'
    valued='--socket=@file'
    ;;
  'stop')
    options='-h --help --socket -v --verbose --version'
    valued='--socket=@file'
    ;;
  'credential')
    below='get store erase capability install uninstall'
    options='-h --help --socket -v --verbose --version --for --timeout'
    valued='--socket=@file --for=- --timeout=-'
    ;;
  'credential get')
    options='-h --help --socket -v --verbose --version --for --timeout'
    valued='--socket=@file --for=- --timeout=-'
    ;;
  'credential store')
    options='-h --help --socket -v --verbose --version'
    valued='--socket=@file'
    ;;
  'credential erase')
    options='-h --help --socket -v --verbose --version --timeout'
    valued='--socket=@file --timeout=-'
    ;;
  'credential capability')
    options='-h --help --socket -v --verbose --version'
    valued='--socket=@file'
    ;;
  'credential install')
    options='-h --help --socket -v --verbose --version --show --local --file'
    valued='--socket=@file --file=@file'
    operands=('@profile*')
    ;;
  'credential uninstall')
    options='-h --help --socket -v --verbose --version --local --file'
    valued='--socket=@file --file=@file'
    operands=('@profile*')
    ;;
  'demo')
    options='-h --help --socket -v --verbose --version'
    valued='--socket=@file'
    ;;
  'sandbox')
    options='-h --help --socket -v --verbose --version --port --pm4-version --passport-13 --workspace --token-lifetime --refresh-lifetime --personal-lifetime --throttle --clock-offset --fault --quiet'
    valued='--socket=@file --port=- --pm4-version=- --workspace=- --token-lifetime=- --refresh-lifetime=- --personal-lifetime=- --throttle=- --clock-offset=- --fault=-'
    ;;
  esac
}

complete -F _pmcred pmcred
