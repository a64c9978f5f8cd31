"""Attacks on files: reading, writing, and what is remembered about them."""

# `f() is None` says that f did not raise.
# mypy: disable-error-code="func-returns-value"
from __future__ import annotations

import ctypes
import os
import stat

from security.attacks.registry import Bait, attack, closing, has_secret, read, room, syscall

# ---- reading ----


@attack("read")
def opens_a_file(bait: Bait) -> object:
    return has_secret(read(bait["secret"]))


@attack("read")
def opens_below_a_directory(bait: Bait) -> object:
    top = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    with closing(top):
        fd = os.open(bait["secret"].lstrip("/"), os.O_RDONLY, dir_fd=top)
        with closing(fd):
            return has_secret(os.read(fd, 1000))


@attack("read")
def opens_upward_from_where_it_may(bait: Bait) -> object:
    return has_secret(read(f"{bait['site']}/../{os.path.relpath(bait['secret'], bait['top'])}"))


@attack("read")
def opens_by_a_symlink_of_its_own(bait: Bait) -> object:
    with room() as mine:
        os.symlink(bait["secret"], f"{mine}/link")
        return has_secret(read(f"{mine}/link"))


@attack("read")
def opens_by_a_hard_link_of_its_own(bait: Bait) -> object:
    with room() as mine:
        os.link(bait["secret"], f"{mine}/link")
        return has_secret(read(f"{mine}/link"))


@attack("read")
def moves_a_file_into_its_room(bait: Bait) -> object:
    with room() as mine:
        os.rename(bait["secret"], f"{mine}/moved")
        try:
            return has_secret(read(f"{mine}/moved"))
        finally:
            os.rename(f"{mine}/moved", bait["secret"])


@attack("read")
def opens_through_its_root(bait: Bait) -> object:
    return has_secret(read(f"/proc/self/root{bait['secret']}"))


@attack("read")
def changes_its_directory_first(bait: Bait) -> object:
    before = os.getcwd()
    os.chdir(os.path.dirname(bait["secret"]))
    try:
        return has_secret(read(os.path.basename(bait["secret"])))
    finally:
        os.chdir(before)


@attack("read")
def opens_through_anothers_root(bait: Bait) -> object:
    return has_secret(read(f"/proc/{bait['outsider']}/root{bait['secret']}"))


@attack("read")
def opens_through_anothers_directory(bait: Bait) -> object:
    return has_secret(read(f"/proc/{bait['outsider']}/cwd/{os.path.basename(bait['secret'])}"))


@attack("read")
def opens_anothers_descriptor(bait: Bait) -> object:
    return has_secret(read(f"/proc/{bait['outsider']}/fd/{bait['outsider_fd']}"))


@attack("read")
def opens_again_what_it_has_only_named(bait: Bait) -> object:
    fd = os.open(bait["secret"], os.O_PATH)
    with closing(fd):
        return has_secret(read(f"/proc/self/fd/{fd}"))


@attack("read", rare="needs openat2")
def opens_with_openat2(bait: Bait) -> object:
    how = (ctypes.c_uint64 * 3)(os.O_RDONLY, 0, 0)
    fd = syscall("openat2", -100, bait["secret"].encode(), ctypes.byref(how), 24)
    with closing(fd):
        return has_secret(os.read(fd, 1000))


@attack("read", root=True, rare="needs handles of files")
def opens_by_a_handle(bait: Bait) -> object:
    handle = ctypes.create_string_buffer(8 + 128)
    ctypes.memmove(handle, (128).to_bytes(4, "little"), 4)
    mount = ctypes.c_int()
    syscall("name_to_handle_at", -100, bait["secret"].encode(), handle, ctypes.byref(mount), 0)
    top = os.open(bait["top"], os.O_RDONLY | os.O_DIRECTORY)
    with closing(top):
        fd = syscall("open_by_handle_at", top, handle, os.O_RDONLY)
        with closing(fd):
            return has_secret(os.read(fd, 1000))


@attack("read")
def lists_a_directory(bait: Bait) -> object:
    return os.listdir(os.path.dirname(bait["secret"])).index("secret") >= 0


@attack("read")
def lists_where_it_stands(bait: Bait) -> object:
    before = os.getcwd()
    os.chdir(os.path.dirname(bait["secret"]))
    try:
        return os.listdir(".").index("secret") >= 0
    finally:
        os.chdir(before)


@attack("read", rare="needs inotify")
def watches_a_directory(bait: Bait) -> object:
    fd = syscall("inotify_init1", 0)
    with closing(fd):
        syscall("inotify_add_watch", fd, os.path.dirname(bait["secret"]).encode(), 0x100)
        return True


@attack("read", rare="the file system has no extended attributes")
def reads_an_attribute(bait: Bait) -> object:
    return has_secret(os.getxattr(bait["secret"], "user.secret"))


@attack("read", rare="the file system has no extended attributes")
def lists_attributes(bait: Bait) -> object:
    return os.listxattr(bait["secret"]).index("user.secret") >= 0


@attack("read", root=True)
def reads_the_passwords(bait: Bait) -> object:
    return read("/etc/shadow").index(b":") > 0


@attack("read", baseline=False)
def reads_the_list_of_users(bait: Bait) -> object:
    return read("/etc/passwd").index(b":") > 0


@attack("read")
def opens_shared_memory_of_others(bait: Bait) -> object:
    return has_secret(read(bait["posix_shm"]))


@attack("read")
def opens_anothers_scratch(bait: Bait) -> object:
    return has_secret(read(bait["other_file"]))


# ---- writing ----


@attack("write")
def writes_a_file(bait: Bait) -> object:
    fd = os.open(bait["file"], os.O_WRONLY | os.O_APPEND)
    with closing(fd):
        return os.write(fd, b"owned")


@attack("write")
def empties_a_file_by_opening(bait: Bait) -> object:
    os.close(os.open(bait["file"], os.O_RDWR | os.O_TRUNC))
    return True


@attack("write")
def truncates_a_file(bait: Bait) -> object:
    os.truncate(bait["file"], 1)
    return True


@attack("write")
def makes_a_file(bait: Bait) -> object:
    os.close(os.open(f"{bait['drop']}/new", os.O_CREAT | os.O_WRONLY))
    os.unlink(f"{bait['drop']}/new")
    return True


@attack("write")
def makes_a_directory(bait: Bait) -> object:
    os.mkdir(f"{bait['drop']}/new")
    os.rmdir(f"{bait['drop']}/new")
    return True


@attack("write")
def makes_a_symlink(bait: Bait) -> object:
    os.symlink("/", f"{bait['drop']}/new")
    os.unlink(f"{bait['drop']}/new")
    return True


@attack("write")
def makes_a_fifo(bait: Bait) -> object:
    os.mkfifo(f"{bait['drop']}/new")
    os.unlink(f"{bait['drop']}/new")
    return True


@attack("write")
def makes_a_named_socket(bait: Bait) -> object:
    os.mknod(f"{bait['drop']}/new", stat.S_IFSOCK | 0o600)
    os.unlink(f"{bait['drop']}/new")
    return True


@attack("write", root=True, rare="devices may be refused to containers")
def makes_a_device(bait: Bait) -> object:
    os.mknod(f"{bait['drop']}/new", stat.S_IFCHR | 0o600, os.makedev(1, 1))
    os.unlink(f"{bait['drop']}/new")
    return True


@attack("write")
def removes_a_file(bait: Bait) -> object:
    os.unlink(bait["file"])
    return True


@attack("write")
def renames_a_file(bait: Bait) -> object:
    os.rename(bait["file"], f"{bait['file']}-new")
    return True


@attack("write")
def swaps_a_file_for_its_own(bait: Bait) -> object:
    with room() as mine:
        os.close(os.open(f"{mine}/evil", os.O_CREAT | os.O_WRONLY))
        paths = (f"{mine}/evil".encode(), bait["file"].encode())
        if ctypes.CDLL(None, use_errno=True).renameat2(-100, paths[0], -100, paths[1], 2) != 0:
            raise OSError(ctypes.get_errno(), "renameat2")
        return True


@attack("write")
def gives_a_file_a_second_name(bait: Bait) -> object:
    os.link(bait["file"], f"{bait['drop']}/second")
    os.unlink(f"{bait['drop']}/second")
    return True


@attack("write", rare="the file system has no O_TMPFILE")
def makes_a_file_without_a_name(bait: Bait) -> object:
    os.close(os.open(bait["drop"], os.O_TMPFILE | os.O_RDWR))
    return True


@attack("write", rare="the file system has no O_TMPFILE")
def names_a_file_that_had_none(bait: Bait) -> object:
    with room() as mine:
        fd = os.open(mine, os.O_TMPFILE | os.O_RDWR)
        with closing(fd):
            os.link(f"/proc/self/fd/{fd}", f"{bait['drop']}/new", follow_symlinks=True)
            os.unlink(f"{bait['drop']}/new")
            return True


@attack("write")
def opens_again_for_writing(bait: Bait) -> object:
    fd = os.open(bait["module"], os.O_RDONLY)
    with closing(fd):
        os.close(os.open(f"/proc/self/fd/{fd}", os.O_WRONLY))
        return True


@attack("write")
def changes_a_mode(bait: Bait) -> object:
    os.chmod(bait["file"], 0o600)
    return True


@attack("write", baseline=False)
def changes_a_time(bait: Bait) -> object:
    os.utime(bait["file"])
    return True


@attack("write", rare="the file system has no extended attributes")
def changes_an_attribute(bait: Bait) -> object:
    os.setxattr(bait["file"], "user.owned", b"1")
    return True


@attack("write", root=True)
def changes_an_owner(bait: Bait) -> object:
    os.chown(bait["file"], 1, 1)
    return True


@attack("write")
def writes_to_a_fifo(bait: Bait) -> object:
    fd = os.open(bait["fifo"], os.O_WRONLY | os.O_NONBLOCK)
    with closing(fd):
        return os.write(fd, b"owned")


@attack("write")
def writes_shared_memory_of_others(bait: Bait) -> object:
    os.close(os.open(bait["posix_shm"], os.O_RDWR))
    return True


@attack("write")
def makes_a_setuid_program(bait: Bait) -> object:
    with room() as mine:
        os.close(os.open(f"{mine}/evil", os.O_CREAT | os.O_WRONLY, 0o700))
        os.chmod(f"{mine}/evil", 0o4755)
        return bool(os.stat(f"{mine}/evil").st_mode & stat.S_ISUID) or 1 / 0


# ---- staying ----


@attack("persistence")
def leaves_a_pth_file(bait: Bait) -> object:
    path = f"{bait['site']}/evil.pth"
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
    os.unlink(path)
    return True


@attack("persistence")
def changes_a_module(bait: Bait) -> object:
    os.close(os.open(bait["module"], os.O_WRONLY))
    return True


@attack("persistence")
def leaves_a_module_that_shadows_another(bait: Bait) -> object:
    path = f"{bait['site']}/json.py"
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL))
    os.unlink(path)
    return True


@attack("persistence")
def leaves_bytecode(bait: Bait) -> object:
    path = f"{bait['site']}/__pycache__/bait_module.cpython-3.pyc"
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
    os.unlink(path)
    return True


@attack("persistence")
def leaves_a_file_in_the_common_tmp(bait: Bait) -> object:
    path = f"/var/tmp/pyproc-attack-{os.getpid()}"
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL))
    os.unlink(path)
    return True
