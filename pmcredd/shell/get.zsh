# `get` and `header` without an interpreter. All else, and every answer but a token, is the command's.
pmcred() {
  if __pmcred_get "$@" 2>/dev/null; then return 0; fi
  command pmcred "$@"
}

__pmcred_get() {
  emulate -L zsh
  setopt no_xtrace no_multibyte local_traps # `set -x` would show the token
  trap '' PIPE # if who reads has gone, that must not end the shell: the command dies of it, in its place
  local _pmcred_format _pmcred_name _pmcred_for _pmcred_answer
  local -a _pmcred_lines
  case ${1-} in
  get) _pmcred_format="" ;;
  header) _pmcred_format="Authorization: Bearer " ;;
  *) return 1 ;;
  esac
  case $#:${3-} in
  1:) _pmcred_name=${PMCRED_PROFILE-} ;;
  2:) _pmcred_name=$2 ;;
  3:--for=?*) _pmcred_name=$2 _pmcred_for=${3#--for=} ;;
  4:--for) _pmcred_name=$2 _pmcred_for=${4:-:} ;;
  *) return 1 ;;
  esac
  if [[ $# -eq 1 && ${(t)PMCRED_PROFILE} != *export* ]]; then return 1; fi
  # A newline in one of these would be a second request.
  if [[ $_pmcred_name != [A-Za-z0-9]* || $_pmcred_name$_pmcred_for == *[^A-Za-z0-9._-]* ]]; then return 1; fi
  __pmcred_ask "get $_pmcred_name${_pmcred_for:+ for=$_pmcred_for}" 120 || return 1
  # The daemon gives the token first; in another order, the command finds it.
  _pmcred_lines=("${(@f)_pmcred_answer}")
  if [[ ${_pmcred_lines[1]} != ok || ${_pmcred_lines[2]} != access_token=?* ]]; then return 1; fi
  builtin syswrite -- "$_pmcred_format${_pmcred_lines[2]#*=}"$'\n' # print has nothing against a closed stdout
}
