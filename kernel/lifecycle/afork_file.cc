#include "kernel/lifecycle/afork_file.h"

#include "kernel/files/anonymous.h"
#include "kernel/lifecycle/vfork_wait.h"
#include "vm/phys/pool.h"

using namespace linux_abi;

namespace {

class afork_file final : public file {
public:
    afork_file(ref_ptr<vfork_wait> child, uint32_t flags)
        : file(anonymous_node(anonymous_kind::afork), o_rdonly | flags), child_(std::move(child)) {}
    void closed() override;

    expected<int64_t> read(uio& io) override {
        if (io.remaining() < sizeof(afork_record))
            return fail(Errno::inval);
        afork_record record = TRY(child_->wait_for_record(nonblocking()));
        return io.result(io.move(&record, sizeof record));
    }
    bool pollable() const override { return true; }
    uint32_t poll(poller* p) override { return child_->poll(p); }

private:
    const ref_ptr<vfork_wait> child_;
};

constinit pool<afork_file> afork_files{"afork_file"};

void afork_file::closed() { afork_files.destroy(this); }

} // namespace

expected<ref_ptr<file>> afork_file_create(ref_ptr<vfork_wait> child, uint32_t flags) {
    auto made = ref_ptr<file>::adopt(afork_files.create(std::move(child), flags));
    if (!made)
        return fail(Errno::nomem);
    return made;
}
