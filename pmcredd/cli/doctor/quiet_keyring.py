"""A program that says whether the keyring has an entry, without a prompt and without telling the secret.

What reads a secret for the daemon may ask a person to unlock the keyring; this asks first whether it is locked. It is
a process of its own for the same reasons as pmcredd.keyring_source.
"""

import os
import sys

from pmcredd.keyring_source import Outcome
from pmcredd.profiles import KeyringSecret, secret_flaw

NOT_LOOKED = 20
"""Exit status: a keyring of which we do not know how to ask whether it is locked."""
_BUS = "DBUS_SESSION_BUS_ADDRESS"


def command(source: KeyringSecret) -> tuple[str, ...]:
    """Give the program's command: it ends with an Outcome or NOT_LOOKED, and may say why on standard output."""
    return (sys.executable, "-P", "-m", "pmcredd.cli.doctor.quiet_keyring", source.service, source.username)


def main(service: str, username: str) -> int:
    """Find the entry; gives the exit status."""
    from pmcredd.process import harden  # here, as keyring below: what imports this module does not need it

    harden()
    usual = f"{os.environ.get('XDG_RUNTIME_DIR', '')}/bus"
    if _BUS not in os.environ and os.path.exists(usual):
        os.environ[_BUS] = f"unix:path={usual}"
    try:
        import keyring
        from keyring.backends import SecretService, fail
    except ModuleNotFoundError:
        return Outcome.NOT_INSTALLED
    try:
        backend = keyring.get_keyring()
        if isinstance(backend, fail.Keyring):
            return Outcome.NO_KEYRING if _BUS in os.environ else Outcome.NO_BUS
        if not isinstance(backend, SecretService.Keyring):
            return NOT_LOOKED
        import secretstorage

        # Not get_default_collection(): it makes one, and asks for its password, where there is none.
        if secretstorage.Collection(secretstorage.dbus_init()).is_locked():
            return Outcome.LOCKED
        secret = keyring.get_password(service, username)
    except Exception as error:  # noqa: BLE001 - backends raise what they like
        if type(error).__name__ == "ItemNotFoundException":  # no default collection
            return Outcome.ABSENT
        print(type(error).__name__)  # what decodes a secret quotes it
        return Outcome.FAILED
    if secret is None:
        return Outcome.ABSENT
    if flaw := secret_flaw(secret.removesuffix("\n")):
        print(f"what it holds {flaw}")
        return Outcome.FAILED
    return Outcome.FOUND


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
