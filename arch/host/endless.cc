#include "host_endless.h"

#include "host_thread.h"

host_endless::host_endless(const char* ends_in, std::function<void()> body)
    : ends_in_(ends_in), thread_([this, body = std::move(body)] {
          begun_.set_value(&host_thread::self());
          try {
              body();
          } catch (const host_thread_ended&) { // NOLINT: that is all
          }
      }),
      self_(begun_.get_future().get()) {}

host_endless::~host_endless() {
    {
        std::lock_guard guard(self_->sleeping);
        self_->ends_in = ends_in_;
        self_->wake.notify_one();
    }
    thread_.join();
}
