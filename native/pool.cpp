#include "pool.h"

#include <pthread.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace unspool {
namespace {

inline void relax() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

// Denormal floats cost a hundred cycles an operation and carry nothing here.
struct FlushDenormals {
#if defined(__x86_64__)
  unsigned saved = _mm_getcsr();
  FlushDenormals() { _mm_setcsr(saved | 0x8040); }
  ~FlushDenormals() { _mm_setcsr(saved); }
#endif
};

class Pool {
 public:
  void run(int count, int threads, const std::function<void(int)>& task) {
    std::unique_lock<std::mutex> mine(busy_, std::try_to_lock);
    FlushDenormals flush;
    if (!mine || threads < 2 || count < 2) {
      for (int i = 0; i < count; i++) task(i);
      return;
    }
    {
      std::lock_guard<std::mutex> lock(mutex_);
      while ((int)workers_.size() < threads - 1) {
        workers_.emplace_back([this, id = (int)workers_.size(), seen = generation_.load()] { work(id, seen); });
        workers_.back().detach();
      }
      task_ = &task;
      count_ = count;
      next_ = 0;
      helpers_ = threads - 1;
      running_ = threads - 1;
      generation_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    take();
    for (int spins = 0; running_.load(std::memory_order_acquire) > 0; spins++)
      spins < 20000 ? relax() : std::this_thread::yield();
  }

 private:
  void take() {
    for (int i; (i = next_.fetch_add(1)) < count_;) (*task_)(i);
  }
  void work(int id, uint64_t seen) {
    FlushDenormals flush;
    for (;;) {
      for (int spins = 0; spins < 2000 && generation_.load(std::memory_order_acquire) == seen; spins++) relax();
      {
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, [&] { return generation_.load() != seen; });
        seen = generation_.load();
        if (id >= helpers_) continue;
      }
      take();
      running_.fetch_sub(1, std::memory_order_acq_rel);
    }
  }

  std::mutex busy_, mutex_;
  std::condition_variable wake_;
  std::vector<std::thread> workers_;
  std::atomic<uint64_t> generation_{0};
  const std::function<void(int)>* task_ = nullptr;
  std::atomic<int> next_{0}, running_{0};
  int count_ = 0, helpers_ = 0;
};

std::atomic<Pool*> pool{nullptr};

Pool& the_pool() {
  static std::once_flag once;
  std::call_once(once, [] {
    pool = new Pool;                                     // never destroyed: workers may outlive main
    pthread_atfork(nullptr, nullptr, [] { pool = new Pool; });  // threads do not survive a fork
  });
  return *pool.load();
}

}  // namespace

void parallel(int count, int threads, const std::function<void(int)>& task) { the_pool().run(count, threads, task); }

}  // namespace unspool
