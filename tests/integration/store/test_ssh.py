"""Cloning over ssh from OpenSSH's own server: keys, host keys, large files, and nobody left behind."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import quote

import pytest

from hyprstream_core.config import CloneSettings, Limits
from hyprstream_core.errors import ConfigError, RemoteError


@pytest.fixture
def over_ssh(new_store, sshd):
    """over_ssh(**settings) → a store whose ssh may log in to ``sshd``."""
    return lambda **settings: new_store(clone=CloneSettings(**{"ssh_command": sshd.command, **settings}))


@pytest.fixture
def lfs_login(sshd, giftless, model_repo):
    """The host hands out giftless's address and a token, and counts how often; a folder of that."""
    giftless.take(model_repo.git_dir)

    def install(expires_in=600, **more):
        answer = {"href": giftless.url, "header": {"Authorization": f"Bearer {giftless.token}"}, **more}
        text = shlex.quote(json.dumps({**answer, "expires_in": expires_in}))
        sshd.install("git-lfs-authenticate", f'echo "$@" >> {sshd.folder}/asked\necho {text}')
        return sshd.folder / "asked"

    return install


def test_a_clone_over_ssh_has_the_large_files_and_stock_git_and_git_lfs_agree(
    over_ssh, sshd, model_repo, lfs_login, referee
):
    asked = lfs_login()
    model = over_ssh().clone(sshd.url(model_repo.path), name="m")
    [worktree] = model.worktrees()
    assert (worktree.path / "model.safetensors").read_bytes() == b"first weights" * 1000
    assert asked.read_text().splitlines() == [f"{model_repo.path} download"]
    assert model.url == sshd.url(model_repo.path)
    referee(over_ssh())
    fsck = subprocess.run(["git", "lfs", "fsck"], cwd=worktree.path, capture_output=True, text=True, check=False)
    assert "OK" in fsck.stdout, fsck


def test_other_branches_ask_the_host_again_where_their_large_files_are(over_ssh, sshd, model_repo, lfs_login):
    asked = lfs_login()
    store = over_ssh()
    store.clone(sshd.url(model_repo.path), name="m")
    folder = store.snapshot(store.resolve("m:feature/x"))
    assert (folder / "model.safetensors").read_bytes() == b"second weights" * 1000
    assert len(asked.read_text().splitlines()) == 2


def test_an_answer_that_expires_is_asked_for_anew(over_ssh, sshd, model_repo, lfs_login):
    asked = lfs_login(expires_in=1)
    over_ssh().clone(sshd.url(model_repo.path), name="m")
    assert len(asked.read_text().splitlines()) == 2  # where they are, and again before the batch request


def test_stock_git_fetches_from_the_url_that_is_recorded(over_ssh, sshd, model_repo, lfs_login):
    lfs_login()
    model = over_ssh().clone(sshd.url(model_repo.path), name="m")
    model_repo.write("new", "file")
    head = model_repo.commit()
    env = {**os.environ, "GIT_SSH_COMMAND": sshd.command}
    subprocess.run(["git", "fetch", "-q", "origin"], cwd=model.git_dir, env=env, check=True)
    fetched = ["git", "rev-parse", "refs/remotes/origin/main"]
    assert subprocess.run(fetched, cwd=model.git_dir, capture_output=True, text=True).stdout.strip() == head


@pytest.mark.parametrize("name", ["it's", "a b", "$(touch ran)", "!x", '"', "back\\slash", "ümläut", "a;id", "q?a#b"])
def test_any_path_reaches_git_and_no_shell(over_ssh, sshd, make_repo, name, tmp_path):
    repo = make_repo(f"odd/{name}")
    repo.write("a", "x")
    head = repo.commit()
    for path in (quote(str(repo.path)), f"{quote(str(repo.path))}/.git"):
        model = over_ssh().clone(sshd.url(path), name=f"m{len(path)}")
        assert model.worktrees()[0].oid == head
    assert not list(tmp_path.rglob("ran"))


def test_the_short_form_is_below_the_home_folder(over_ssh, sshd, make_repo):
    repo = make_repo("short")
    repo.write("a", "x")
    repo.commit()
    config = (sshd.folder / "ssh_config").read_text()
    (sshd.folder / "ssh_config").write_text(f"Host there\n  HostName 127.0.0.1\n  Port {sshd.process.port}\n{config}")
    store = over_ssh()
    home = Path(f"~{sshd.user}").expanduser()
    relative = os.path.relpath(repo.path, home)
    for url, name in ((f"there:{repo.path}", "a"), (f"{sshd.user}@there:{relative}", "b")):
        assert store.clone(url, name=name).url == url
    assert store.clone(f"there:{repo.path}").name == "short"


def test_an_unknown_host_key_is_refused(over_ssh, sshd, model_repo):
    sshd.trust(None)
    with pytest.raises(RemoteError) as caught:
        over_ssh().clone(sshd.url(model_repo.path))
    assert caught.value.error_code == "remote.host_key"
    assert "fingerprint" in caught.value.remedy
    assert (sshd.folder / "known_hosts").read_text() == ""


def test_an_unknown_host_key_is_refused_also_where_the_configuration_would_take_any(over_ssh, sshd, model_repo):
    sshd.trust(None)
    with (sshd.folder / "ssh_config").open("a") as file:
        file.write("  StrictHostKeyChecking no\n")
    with pytest.raises(RemoteError) as caught:
        over_ssh().clone(sshd.url(model_repo.path))
    assert caught.value.error_code == "remote.host_key"


def test_a_changed_host_key_is_refused(over_ssh, sshd, model_repo):
    sshd.trust("other_key")
    with pytest.raises(RemoteError) as caught:
        over_ssh().clone(sshd.url(model_repo.path))
    assert caught.value.error_code == "remote.host_key"
    assert "somebody is in between" in caught.value.message


def test_a_wrong_key_is_refused(over_ssh, sshd, model_repo):
    sshd.allow("other_key")
    with pytest.raises(RemoteError) as caught:
        over_ssh().clone(sshd.url(model_repo.path))
    assert caught.value.error_code == "remote.unauthorized"
    assert "ssh-add" in caught.value.remedy


def test_a_key_in_an_agent_is_used(over_ssh, sshd, make_repo, monkeypatch):
    repo = make_repo("by-agent")
    repo.write("a", "x")
    repo.commit()
    agent = sshd.folder / "agent"
    config = (sshd.folder / "ssh_config").read_text()
    config = config.replace("IdentityAgent none", f"IdentityAgent {agent}").replace("/user_key", "/other_key.pub")
    (sshd.folder / "ssh_config").write_text(config)
    sshd.allow("other_key")
    running = subprocess.Popen(["ssh-agent", "-D", "-a", agent], stdout=subprocess.DEVNULL)
    try:
        while not agent.exists():
            time.sleep(0.01)
        add = ["ssh-add", "-q", str(sshd.folder / "other_key")]
        subprocess.run(add, env={**os.environ, "SSH_AUTH_SOCK": str(agent)}, check=True)
        (sshd.folder / "other_key").unlink()
        assert over_ssh().clone(sshd.url(repo.path)).name == "by-agent"
    finally:
        running.terminate()
        running.wait()


def test_what_is_no_repository_is_named_so(over_ssh, sshd, tmp_path):
    with pytest.raises(RemoteError) as caught:
        over_ssh().clone(sshd.url(tmp_path / "nothing"))
    assert caught.value.error_code == "remote.not_found"


def test_a_host_without_git_is_named_so(over_ssh, sshd, model_repo):
    sshd.install("git-upload-pack", "echo sh: git-upload-pack: command not found >&2; exit 127")
    with pytest.raises(RemoteError, match="has no git for us") as caught:
        over_ssh().clone(sshd.url(model_repo.path))
    assert caught.value.remedy == "install git on the host"


def test_what_the_host_says_cannot_paint_the_terminal(over_ssh, sshd, model_repo):
    sshd.install("git-upload-pack", r"printf 'ERROR: \033[2Jno\n' >&2; exit 1")
    with pytest.raises(RemoteError) as caught:
        over_ssh().clone(sshd.url(model_repo.path))
    assert caught.value.message.isprintable()


def test_nobody_there_is_remote_unreachable(over_ssh, sshd, model_repo):
    url = sshd.url(model_repo.path)
    sshd.close()
    with pytest.raises(RemoteError) as caught:
        over_ssh().clone(url)
    assert caught.value.error_code == "remote.unreachable"


def test_a_silent_host_is_given_up(over_ssh, sshd, model_repo):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        started = time.monotonic()
        with pytest.raises(RemoteError) as caught:
            over_ssh(timeout=0.5).clone(f"ssh://127.0.0.1:{listener.getsockname()[1]}/x")
    assert caught.value.error_code == "remote.timeout"
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("script", ["exec sleep 1000", "while :; do echo waiting >&2; sleep 0.05; done"])
def test_a_host_that_lets_us_in_and_says_nothing_is_given_up_and_nobody_is_left_behind(
    over_ssh, sshd, model_repo, script
):
    sshd.install("git-upload-pack", script)
    with pytest.raises(RemoteError) as caught:
        over_ssh(timeout=1.0).clone(sshd.url(model_repo.path))
    assert caught.value.error_code == "remote.timeout"
    assert ssh_clients(sshd) == []


def ssh_clients(sshd):
    """ssh programs that run with this server's configuration."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if str(sshd.folder / "ssh_config").encode() in line:
            found.append(line)
    return found


def test_an_interrupt_leaves_no_ssh_behind(sshd, model_repo, tmp_path):
    sshd.install("git-upload-pack", f"touch {tmp_path}/reached; exec sleep 1000")
    env = {**os.environ, "HYPRSTREAM_MODELS_DIR": str(tmp_path / "models"), "GIT_SSH_COMMAND": sshd.command}
    command = [sys.executable, "-m", "hyprstream_core.cli", "clone", sshd.url(model_repo.path)]
    process = subprocess.Popen(command, env=env, stderr=subprocess.PIPE)
    while not (tmp_path / "reached").exists() and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 130, said
    assert ssh_clients(sshd) == []


def test_a_flood_on_stderr_stops_nothing(over_ssh, sshd, make_repo):
    repo = make_repo("flood")
    repo.write("a", "x")
    repo.commit()
    sshd.install("git-upload-pack", 'head -c 3000000 /dev/zero >&2; exec /usr/bin/env git upload-pack "$@"')
    assert over_ssh().clone(sshd.url(repo.path)).name == "flood"


def test_case_010_a_host_with_too_many_references_is_refused(new_store, sshd, make_repo):
    repo = make_repo("many")
    repo.write("a", "x")
    head = repo.commit()
    repo.run(
        "update-ref", "--stdin", stdin=b"".join(b"create refs/tags/t%d %s\n" % (n, head.encode()) for n in range(99))
    )
    store = new_store(clone=CloneSettings(ssh_command=sshd.command), limits=Limits(repo_refs=20))
    with pytest.raises(RemoteError) as caught:
        store.clone(sshd.url(repo.path))
    assert caught.value.error_code == "remote.limit"


@pytest.mark.parametrize("script", ["cat /dev/zero", "yes", "echo Welcome to the host", "exit 0"])
def test_case_010_a_host_that_sends_nonsense_or_without_end_is_refused(over_ssh, sshd, model_repo, script):
    sshd.install("git-upload-pack", script)
    with pytest.raises(RemoteError):
        over_ssh().clone(sshd.url(model_repo.path))


@pytest.mark.parametrize(
    ("script", "code", "text"),
    [
        ("echo 'ERROR: you may not read this' >&2; exit 1", "remote.failed", "you may not read this"),
        ("echo not json", "remote.failed", "answers git-lfs-authenticate with something else"),
        ("exec sleep 1000", "remote.timeout", "did not answer within 1 s"),
        ('echo \'{"href": "file:///etc"}\'', "url.scheme", ""),
    ],
)
def test_a_host_that_does_not_say_where_large_files_are_is_named(over_ssh, sshd, model_repo, script, code, text):
    sshd.install("git-lfs-authenticate", script)
    with pytest.raises(RemoteError) as caught:
        over_ssh(timeout=1.0 if code == "remote.timeout" else 60.0).clone(sshd.url(model_repo.path))
    assert caught.value.error_code == code
    assert text in caught.value.message


def test_a_host_that_does_not_know_git_lfs_is_asked_by_https(over_ssh, sshd, model_repo):
    sshd.install("git-lfs-authenticate", "echo \"fatal: unrecognized command 'git-lfs-authenticate'\" >&2; exit 128")
    with pytest.raises(RemoteError, match=r"127\.0\.0\.1") as caught:
        over_ssh().clone(sshd.url(model_repo.path))
    assert caught.value.error_code == "remote.unreachable"  # there is no https server here


def test_case_013_headers_for_large_files_do_not_follow_to_another_host(
    over_ssh, sshd, model_repo, lfs_login, git_server, giftless
):
    for file in (model_repo.git_dir / "lfs/objects").glob("??/??/*"):
        git_server.large[file.name] = file.read_bytes()
    place = git_server.url.replace("127.0.0.1", "localhost")
    lfs_login(href=git_server.url + "/x.git/info/lfs", header={"Authorization": "Bearer canary", "X-Private": "canary"})
    git_server.href = {oid: f"{place}/large/{oid}" for oid in git_server.large}
    over_ssh().clone(sshd.url(model_repo.path), name="m")
    batch, *files = git_server.seen
    assert (batch[2]["Authorization"], batch[2]["X-Private"]) == ("Bearer canary", "canary")
    assert files
    assert "canary" not in str(files)


@pytest.mark.parametrize("command", ["no-such-ssh-program", "'", " "])
def test_an_ssh_that_cannot_be_run_is_named(new_store, command):
    with pytest.raises(ConfigError) as caught:
        new_store(clone=CloneSettings(ssh_command=command)).clone("host.invalid:x")
    assert caught.value.param == "clone.ssh_command"


def test_threads_may_clone_over_ssh_at_once(over_ssh, sshd, make_repo):
    repo = make_repo("shared")
    repo.write("a", "x")
    repo.commit()
    threads = [
        threading.Thread(target=lambda n=n: over_ssh().clone(sshd.url(repo.path), name=f"m{n}")) for n in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [m.name for m in over_ssh().registered()] == ["m0", "m1", "m2"]
