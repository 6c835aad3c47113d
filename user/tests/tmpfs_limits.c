// What a tmpfs may hold: its options, what statfs says of it, and what happens when it is full.
#include "../lib/fault.h"
#include "../lib/mounts.h"
#include "../lib/proc.h"
#include "../lib/scratch.h"

#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <sys/vfs.h>

enum { PAGE = 4096, RW = PROT_READ | PROT_WRITE };

static int mount_with(const char* options) { return mount("test", "full", "tmpfs", 0, options); }

static int remount_with(const char* options) {
    return mount(NULL, "full", NULL, MS_REMOUNT, options);
}

static struct statfs space(void) {
    struct statfs s;
    need(statfs("full", &s) == 0);
    return s;
}

static bool ready(void) {
    if (!own_mounts())
        return false;
    need(mkdir("full", 0700) == 0 || errno == EEXIST);
    return true;
}

static bool mounted_with(const char* options) {
    if (!ready())
        return false;
    need(mount_with(options) == 0);
    return true;
}

static int new_file(const char* name) {
    int fd = open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
    need(fd >= 0);
    return fd;
}

static long blocks_of(int fd) {
    struct stat st;
    need(fstat(fd, &st) == 0);
    return (long)st.st_blocks;
}

// ---- Options ---------------------------------------------------------------------------------

static long blocks_with(const char* options) {
    if (mount_with(options) != 0)
        return -errno;
    long blocks = (long)space().f_blocks;
    need(umount("full") == 0);
    return blocks;
}

static void options(void) {
    if (!ready())
        return;
    struct sysinfo info;
    need(sysinfo(&info) == 0);
    const long memory = (long)(info.totalram * info.mem_unit / PAGE);
    is(blocks_with(NULL), memory / 2, "half of memory, if nothing is said");
    is(blocks_with("size=1m"), 256, "size in MiB");
    is(blocks_with("size=64K"), 16, "or KiB");
    is(blocks_with("size=2g"), 524288, "or GiB, whatever there is");
    is(blocks_with("size=4097"), 2, "or bytes");
    is(blocks_with("size=25%"), (memory + 3) / 4, "or as a part of memory");
    is(blocks_with("nr_blocks=7"), 7, "or in pages");
    is(blocks_with("size=0"), 0, "or no limit");
    is(blocks_with("size=1m,nr_inodes=9,mode=700"), 256, "among other options");
    is(blocks_with("size="), -EINVAL, "no number");
    is(blocks_with("size=1x"), -EINVAL, "no such unit");
    is(blocks_with("sizes=1m"), -EINVAL, "no such option");
}

static void remounted(void) {
    if (!mounted_with("size=64k,nr_inodes=5"))
        return;
    int fd = new_file("full/file");
    char page[PAGE] = "x";
    for (int i = 0; i < 8; i++)
        need(write(fd, page, PAGE) == PAGE);
    struct statfs s = space();
    ok(s.f_type == 0x01021994 && s.f_bsize == PAGE, "statfs knows what it is");
    ok(s.f_blocks == 16 && s.f_bfree == 8 && s.f_bavail == 8, "and what is free of its pages");
    ok(s.f_files == 5 && s.f_ffree == 3, "and of its files: there are the root and one more");
    is(remount_with("size=32k"), 0, "it may shrink to what is used");
    is((long)space().f_bfree, 0, "and is full then");
    is_errno(write(fd, "x", 1), ENOSPC, "so nothing more is written");
    is_errno(remount_with("size=28k"), EINVAL, "it cannot shrink further");
    is_errno(remount_with("nr_inodes=1"), EINVAL, "nor to fewer files than it has");
    is(remount_with("size=36k,nr_inodes=2"), 0, "it may grow");
    is(write(fd, "x", 1), 1, "and takes more");
    is((long)space().f_ffree, 0, "with the files it has");
    need(close(fd) == 0 && umount("full") == 0 && mount_with("size=0,nr_inodes=0") == 0);
    is_errno(remount_with("size=1m"), EINVAL, "what had no limit gets none");
    is(umount("full"), 0, "unmounted");
}

// ---- Full ------------------------------------------------------------------------------------

static void pages(void) {
    if (!mounted_with("size=64k"))
        return;
    static char block[20 * PAGE];
    memset(block, 'b', sizeof block);
    int fd = new_file("full/file"), other = new_file("full/other");
    is(write(fd, block, sizeof block), 16 * PAGE, "a write takes what there is");
    is(lseek(fd, 0, SEEK_END), 16 * PAGE, "and the file is that long");
    is_errno(write(fd, "x", 1), ENOSPC, "the next one gets nothing");
    is_errno(write(other, "x", 1), ENOSPC, "nor does one of another file");
    is(lseek(other, 0, SEEK_END), 0, "which stays empty");
    is(pwrite(fd, "over", 4, 0), 4, "what is there can be written over");
    is(ftruncate(fd, 10 * PAGE), 0, "cut");
    is((long)space().f_bfree, 6, "it gives back what is not needed");

    is_errno(fallocate(other, 0, 0, 7 * PAGE), ENOSPC, "room for more than there is");
    is(lseek(other, 0, SEEK_END), 0, "is not made in part");
    is(blocks_of(other), 0, "nor kept");
    is((long)space().f_bfree, 6, "by anybody");
    is(fallocate(other, 0, 0, 6 * PAGE), 0, "room for as much as there is");
    is((long)space().f_bfree, 0, "is had");
    need(ftruncate(fd, 16 * PAGE) == 0);
    is(pwrite(other, "x", 1, 3 * PAGE), 1, "for its file to write to");
    is_errno(pwrite(fd, "x", 1, 15 * PAGE), ENOSPC, "and no other");

    char* at = mmap(NULL, 16 * PAGE, RW, MAP_SHARED, fd, 0);
    need(at != MAP_FAILED);
    fault_catch(0);
    at[0] = 's';
    is_fault(store_fault(at + 12 * PAGE), SIGBUS, BUS_ADRERR, at + 12 * PAGE,
             "a store to a page that cannot be had is a bus error");
    is_fault(load_fault(at + 12 * PAGE), SIGBUS, BUS_ADRERR, at + 12 * PAGE, "and so is a load");
    is(fallocate(other, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE), 0, "a hole");
    is_fault(store_fault(at + 12 * PAGE), 0, 0, NULL, "gives a page back");
    is((long)space().f_bfree, 0, "which is taken at once");
    need(munmap(at, 16 * PAGE) == 0);
    need(unlink("full/file") == 0 && close(fd) == 0);
    is((long)space().f_bfree, 11, "a file that is removed gives back all");
    need(close(other) == 0);
    is(umount("full"), 0, "unmounted");
}

static void files(void) {
    if (!mounted_with("nr_inodes=4,size=32k"))
        return;
    need(close(new_file("full/file")) == 0 && mkdir("full/folder", 0700) == 0);
    is(link("full/file", "full/link"), 0, "a further name counts");
    is((long)space().f_ffree, 0, "as a file");
    is_errno(open("full/more", O_CREAT | O_RDWR, 0600), ENOSPC, "there is no other");
    is_errno(mkdir("full/more", 0700), ENOSPC, "nor a folder");
    is_errno(symlink("x", "full/more"), ENOSPC, "nor a symbolic link");
    is_errno(mknod("full/more", S_IFIFO | 0600, 0), ENOSPC, "nor a fifo");
    is_errno(link("full/file", "full/folder/more"), ENOSPC, "nor a name");
    is(rename("full/link", "full/folder/link"), 0, "what is there can be moved");
    is(rename("full/folder/link", "full/link"), 0, "and back");
    need(unlink("full/link") == 0);
    is((long)space().f_ffree, 1, "a name that goes is given back");
    need(mkdir("full/more", 0700) == 0);
    is(rename("full/more", "full/folder"), 0, "so is what a rename replaces");
    is((long)space().f_ffree, 1, "a folder");
    need(link("full/file", "full/link") == 0 && unlink("full/file") == 0);
    is((long)space().f_ffree, 1, "whichever name of a file goes");

    char text[2000];
    memset(text, 't', sizeof text);
    text[sizeof text - 1] = 0;
    need(symlink(text, "full/long") == 0);
    is((long)space().f_bfree, 7, "a long symbolic link takes a page");
    need(unlink("full/long") == 0);
    is((long)space().f_bfree, 8, "as long as it is there");
    is(umount("full"), 0, "unmounted");
}

// ---- What everybody has ------------------------------------------------------------------------

// An ordinary user fills what there is for him to write in; the memory of others stays.
static void fill(void* name) {
    static char block[1 << 20];
    become(1000);
    int fd = open(name, O_RDWR | O_CREAT, 0600);
    need(fd >= 0);
    while (write(fd, block, sizeof block) > 0)
        continue;
    _exit(errno);
}

static void use_memory(void* unused) {
    (void)unused;
    char* at = mmap(NULL, 4 << 20, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(at != MAP_FAILED);
    for (int i = 0; i < 4 << 20; i += PAGE)
        at[i] = 1;
}

static void everybody(void) {
    if (!on_spork()) {
        skip("would fill this machine");
        return;
    }
    is_exit(status_of(fill, "/tmp/hog"), ENOSPC, "/tmp has an end");
    is_exit(status_of(fill, "/dev/shm/hog"), ENOSPC, "and /dev/shm");
    is_exit(status_of(use_memory, NULL), 0, "with both full, a program has its memory");
    need(unlink("/tmp/hog") == 0 && unlink("/dev/shm/hog") == 0);
}

int main(void) {
    scratch_begin();
    subtest("options", options);
    subtest("remounting", remounted);
    subtest("no page", pages);
    subtest("no file", files);
    subtest("what everybody may write to", everybody);
    return done();
}
