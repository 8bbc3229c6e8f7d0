# `get` and `header` without an interpreter. All else, and every answer but a token, is the command's.
pmcred() {
  if __pmcred_get "$@" 2>/dev/null; then return 0; fi
  command pmcred "$@"
}

__pmcred_get() {
  local - && set +xk # -x would show the token; with -k, `local` takes no value
  local _pmcred_format _pmcred_name _pmcred_for='' _pmcred_answer=''
  if shopt -q nocasematch; then return 1; fi # GET is no verb
  case ${1-} in
  get) _pmcred_format='%s\n' ;;
  header) _pmcred_format='Authorization: Bearer %s\n' ;;
  *) return 1 ;;
  esac
  case $#:${3-} in
  1:) _pmcred_name=${PMCRED_PROFILE-} ;;
  2:) _pmcred_name=$2 ;;
  3:--for=?*) _pmcred_name=$2 _pmcred_for=${3#--for=} ;;
  4:--for) _pmcred_name=$2 _pmcred_for=${4:-:} ;;
  *) return 1 ;;
  esac
  if [[ $# -eq 1 && ( ! -v PMCRED_PROFILE || ${PMCRED_PROFILE@a} != *x* ) ]]; then return 1; fi
  # A newline in one of these would be a second request.
  if [[ $_pmcred_name != [A-Za-z0-9]* || $_pmcred_name$_pmcred_for == *[!A-Za-z0-9._-]* ]]; then return 1; fi
  if ! { : >&1; }; then return 1; fi # stdout is closed: the command says so
  ( # a reader that has gone must not end an interactive shell
    __pmcred_ask "get $_pmcred_name${_pmcred_for:+ for=$_pmcred_for}" 120 || exit 1
    # The daemon gives the token first; in another order, the command finds it.
    if [[ $_pmcred_answer != $'ok\naccess_token='[!$'\n']* ]]; then exit 1; fi
    _pmcred_answer=${_pmcred_answer#*=}
    builtin printf "$_pmcred_format" "${_pmcred_answer%%$'\n'*}"
  )
}
