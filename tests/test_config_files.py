"""The profiles files are found and read; what stops that is told like any other mistake."""

import os
import pwd
import tempfile
from pathlib import Path

import pytest

from pmcredd.config_files import MAX_BYTES, home, load, sources
from pmcredd.profiles import BadConfig, Config, Mistake, Settings, SourceFile, Storage

TOKEN = 'url = "https://acme.example"\ngrant = "personal_access_token"\ntoken = { file = "~/t" }\n'
NOBODY = 65534

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")


@pytest.fixture
def config_dir(tmp_path: Path) -> Path:
    """Be the directory of an own profiles.toml, with an empty profiles.d in it."""
    folder = tmp_path / "config" / "pmcred"
    (folder / "profiles.d").mkdir(parents=True)
    return folder


@pytest.fixture
def environ(tmp_path: Path, config_dir: Path) -> dict[str, str]:
    """Be the environment that leads there."""
    return {"XDG_CONFIG_HOME": str(config_dir.parent), "HOME": str(tmp_path)}


def put(path: Path, text: str | bytes, mode: int = 0o600) -> Path:
    """Write a file with exactly these permission bits."""
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(mode)
    return path


def refused(environ: dict[str, str]) -> tuple[Mistake, ...]:
    """Load files that are wrong."""
    with pytest.raises(BadConfig) as caught:
        load(environ)
    return caught.value.mistakes


def test_all_files_are_read(config_dir: Path, environ: dict[str, str], tmp_path: Path) -> None:
    """The own file and those of profiles.d make one configuration; ~ is $HOME."""
    put(config_dir / "profiles.toml", f'[daemon]\nstorage = "runtime"\n[profiles.a]\n{TOKEN}')
    put(config_dir / "profiles.d" / "b.toml", f"[profiles.b]\n{TOKEN}")
    put(config_dir / "profiles.d" / "c.toml", f"[profiles.c]\n{TOKEN}")
    read = load(environ)
    assert read.settings == Settings(storage=Storage.RUNTIME)
    assert {name: Path(one.file).name for name, one in read.profiles.items()} == {
        "a": "profiles.toml",
        "b": "b.toml",
        "c": "c.toml",
    }
    assert str(tmp_path / "t") in repr(read.profiles["b"].token)


def test_nothing_at_all_is_no_mistake(environ: dict[str, str], tmp_path: Path) -> None:
    """Before the first profile is made there is no file and no directory."""
    assert load(environ) == Config(Settings(), {})
    assert load({"XDG_CONFIG_HOME": str(tmp_path / "none"), "HOME": "/"}) == Config(Settings(), {})


def test_only_toml_files_of_profiles_d_count(config_dir: Path, environ: dict[str, str]) -> None:
    """Not an editor's backup and lock, and not a file that is being written."""
    for name in ("a.toml~", ".#a.toml", ".tmp.toml", "README", "a.toml.bak"):
        put(config_dir / "profiles.d" / name, "not toml")
    assert load(environ).profiles == {}


def test_a_file_of_profiles_d_holds_profiles_alone(config_dir: Path, environ: dict[str, str]) -> None:
    """The reader is told which files are those."""
    put(config_dir / "profiles.d" / "a.toml", "[daemon]\n")
    (found,) = refused(environ)
    assert found.mend == "move it to profiles.toml"


def test_a_named_file_is_read_with_its_own_profiles_d(
    tmp_path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """$PMCRED_CONFIG, also a relative one: paths in it and in messages are whole."""
    (tmp_path / "profiles.d").mkdir()
    put(tmp_path / "mine.toml", f"[profiles.a]\n{TOKEN}ca_file = 'ca.pem'\n")
    put(tmp_path / "profiles.d" / "b.toml", f"[profiles.b]\n{TOKEN}")
    monkeypatch.chdir(tmp_path)
    read = load(environ | {"PMCRED_CONFIG": "mine.toml"})
    assert set(read.profiles) == {"a", "b"}
    assert read.profiles["a"].ca_file == str(tmp_path / "ca.pem")


def test_a_named_file_that_is_not_there_is_a_mistake(tmp_path: Path, environ: dict[str, str]) -> None:
    """Somebody expects profiles from it; so they do from a link that leads nowhere."""
    (found,) = refused(environ | {"PMCRED_CONFIG": str(tmp_path / "none.toml")})
    assert found.file == str(tmp_path / "none.toml")
    assert "No such file" in found.wrong
    assert "PMCRED_CONFIG" in found.mend


def test_a_link_that_leads_nowhere_is_a_mistake(config_dir: Path, environ: dict[str, str], tmp_path: Path) -> None:
    """A dotfiles repository that was not checked out must not look like no profiles."""
    (config_dir / "profiles.toml").symlink_to(tmp_path / "none")
    (config_dir / "profiles.d" / "a.toml").symlink_to(tmp_path / "none")
    assert [Path(one.file).name for one in refused(environ)] == ["profiles.toml", "a.toml"]


def test_a_link_to_a_good_file_is_followed(config_dir: Path, environ: dict[str, str], tmp_path: Path) -> None:
    """Dotfiles are often links."""
    (config_dir / "profiles.toml").symlink_to(put(tmp_path / "real.toml", f"[profiles.a]\n{TOKEN}"))
    assert set(load(environ).profiles) == {"a"}


def test_every_file_that_cannot_be_read_is_told_with_the_mistakes_of_the_others(
    config_dir: Path, environ: dict[str, str]
) -> None:
    """One round of mending, whatever is wrong."""
    put(config_dir / "profiles.toml", "[daemom]\n")
    folder = config_dir / "profiles.d"
    (folder / "a.toml").mkdir()
    os.mkfifo(folder / "b.toml", 0o600)
    put(folder / "c.toml", b'[profiles.x]\n\nurl = "\xff"\n')
    put(folder / "d.toml", b"#" * (MAX_BYTES + 1))
    (folder / "e.toml").symlink_to(folder / "e.toml")
    found = {Path(one.file).name: str(one) for one in refused(environ)}
    assert "Not a regular file" in found["a.toml"]
    assert "Not a regular file" in found["b.toml"]
    assert "is not UTF-8 (at line 3)" in found["c.toml"]
    assert "larger than 16 MiB" in found["d.toml"]
    assert "symbolic links" in found["e.toml"]
    assert "did you mean [daemon]?" in found["profiles.toml"]


def test_the_files_can_be_had_as_they_are(config_dir: Path, environ: dict[str, str]) -> None:
    """Unparsed, for who wants to mend them; what cannot be read is told beside them."""
    own = put(config_dir / "profiles.toml", b"\xef\xbb\xbf[daemom]\n", 0o640)
    folder = config_dir / "profiles.d"
    os.mkfifo(folder / "a.toml", 0o600)
    put(folder / "b.toml", "not toml")
    files, mistakes = sources(environ)
    assert files == (
        SourceFile(str(own), "[daemom]\n", 0o640, ours=False),
        SourceFile(str(folder / "b.toml"), "not toml", 0o600, ours=True),
    )
    assert [one.file for one in mistakes] == [str(folder / "a.toml")]


def test_one_file_that_cannot_be_read_is_enough(config_dir: Path, environ: dict[str, str]) -> None:
    """The good profiles alone would be a silent loss of the others."""
    put(config_dir / "profiles.toml", f"[profiles.a]\n{TOKEN}")
    put(config_dir / "profiles.d" / "b.toml", b"\xff")
    assert len(refused(environ)) == 1


def test_no_secret_of_a_file_that_is_not_utf_8_is_told(config_dir: Path, environ: dict[str, str]) -> None:
    """Not by the exceptions behind it either."""
    put(config_dir / "profiles.toml", b'[profiles.x]\npassword = "hunter2\xff"\n')
    with pytest.raises(BadConfig) as caught:
        load(environ)
    told = ""
    error: BaseException | None = caught.value
    while error is not None:
        told += f"{error!r}{error}"
        error = error.__context__
    assert "hunter2" not in told


def test_a_byte_order_mark_is_no_mistake(config_dir: Path, environ: dict[str, str]) -> None:
    """Some editors write one."""
    put(config_dir / "profiles.toml", b"\xef\xbb\xbf" + f"[profiles.a]\r\n{TOKEN}".encode())
    assert set(load(environ).profiles) == {"a"}


def test_a_file_that_everybody_can_write_is_refused(config_dir: Path, environ: dict[str, str]) -> None:
    """A profile names commands that run as us; one writable for the group is the group's affair, as with umask 002."""
    path = put(config_dir / "profiles.toml", f"[profiles.a]\n{TOKEN}", 0o666)
    (found,) = refused(environ)
    assert "mode 0666" in found.wrong
    assert found.mend == f"chmod 600 {path}"
    path.chmod(0o664)
    assert set(load(environ).profiles) == {"a"}


def test_the_mode_of_a_file_with_a_literal_secret_counts(config_dir: Path, environ: dict[str, str]) -> None:
    """The reader is told the permission bits."""
    text = "[profiles.a]\n" + TOKEN.replace('{ file = "~/t" }', '"s3cret"')
    path = put(config_dir / "profiles.toml", text, 0o644)
    (found,) = refused(environ)
    assert found.mend == f"chmod 600 {path}"
    path.chmod(0o600)
    assert set(load(environ).profiles) == {"a"}


@as_root
def test_a_file_of_another_user_is_refused(config_dir: Path, environ: dict[str, str]) -> None:
    """Whoever owns it could change it at any time."""
    os.chown(put(config_dir / "profiles.toml", ""), NOBODY, -1)
    (found,) = refused(environ)
    assert f"uid {NOBODY}" in found.wrong
    assert found.mend.startswith("chown 0 ")


def test_what_we_may_not_read_is_told() -> None:
    """A file and a directory, each with its chmod; the same in both cases."""
    with tempfile.TemporaryDirectory() as folder:  # not tmp_path, where only its owner gets in
        os.chmod(folder, 0o711)
        file = put(Path(folder, "profiles.toml"), "", 0o000)
        Path(folder, "profiles.d").mkdir(0o000)
        privileged = os.geteuid() == 0
        if privileged:  # permission bits do not stop root
            os.seteuid(NOBODY)
        try:
            found = refused({"PMCRED_CONFIG": str(file), "HOME": "/"})
        finally:
            if privileged:
                os.seteuid(0)
    assert {Path(one.file).name for one in found} == {"profiles.toml", "profiles.d"}
    assert all("Permission denied" in one.wrong and one.mend.startswith("chmod u+rX ") for one in found)


def test_profiles_d_that_is_no_directory_is_told(config_dir: Path, environ: dict[str, str]) -> None:
    """Told, not taken for an empty one."""
    (config_dir / "profiles.d").rmdir()
    put(config_dir / "profiles.d", "")
    (found,) = refused(environ)
    assert "Not a directory" in found.wrong


def test_home_is_the_environments_or_the_password_databases(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a shell; a user whom nobody entered, in a container, has none."""
    assert home({"HOME": "/h"}) == "/h"
    assert home({}) == home({"HOME": "relative"}) == pwd.getpwuid(os.geteuid()).pw_dir

    def unknown(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr("pmcredd.config_files.pwd.getpwuid", unknown)
    assert home({}) == ""
