#include "pool.h"

#include <dlfcn.h>
#include <pthread.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <climits>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "team.h"

namespace unspool {
namespace {

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
    wait_until([&] { return running_.load(std::memory_order_acquire) <= 0; });
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

// torch's own OpenMP threads spin for milliseconds after its operations and would take half a core from ours;
// so the tasks run on those threads. GOMP_parallel is the entry that both GNU's and LLVM's runtime have.
using OpenMP = void (*)(void (*)(void*), void*, unsigned, unsigned);
std::atomic<bool> forked{false};   // OpenMP's threads do not survive a fork, nor can they be made again

#ifdef __SANITIZE_THREAD__
constexpr bool OWN_THREADS = true;   // OpenMP's runtime is not instrumented: what it orders would look like races
#else
constexpr bool OWN_THREADS = false;
#endif

OpenMP openmp() {
  static const OpenMP found = (OpenMP)dlsym(RTLD_DEFAULT, "GOMP_parallel");
  return forked || OWN_THREADS ? nullptr : found;
}

using Clock = std::chrono::steady_clock;

double seconds(Clock::duration d) { return std::chrono::duration<double>(d).count(); }

// GNU's threads spin for milliseconds where they wait, on cores that others may need, unless there are more of them than
// cores: then for microseconds (its manual, GOMP_SPINCOUNT). So, once threads of this process had to wait for a core, a
// team as large as the machine and one more is started beside, once, and parked.
class Waiting {
 public:
  static constexpr double LATE = 3e-4;   // seconds: a thread that runs is never that late
  bool settled() const { return chosen_ || crowded_.load(std::memory_order_relaxed) < 0; }
  // Whether threads are to tell how long they had work and no core: that takes a microsecond, and so is asked after
  // regions that were long enough for such a wait.
  bool watches() const { return !settled() && watched_.load(std::memory_order_relaxed) > 0; }
  // After a parallel region of `whole` seconds, the last `late` of which all work was done: a thread had not yet come, or
  // gone. `robbed`: one had work and no core.
  void ended(double whole, double late, bool robbed) {
    constexpr int OFTEN = 4, NEXT = 64;
    if (whole >= LATE) watched_.store(NEXT, std::memory_order_relaxed);
    else if (watches()) watched_.fetch_sub(1, std::memory_order_relaxed);
    if ((late < LATE && !robbed) || settled() || crowded_.fetch_add(1) + 1 != OFTEN) return;
    crowded_ = INT_MIN / 2;
    std::thread([] {
      openmp()([](void*) {}, nullptr, std::thread::hardware_concurrency() + 1, 0);
      for (;;) std::this_thread::sleep_for(std::chrono::hours(24));
    }).detach();
  }
  const char* how() const {
    if (chosen_) return "as GOMP_SPINCOUNT or OMP_WAIT_POLICY says";
    return settled() ? "briefly, since threads had to wait for a core" : "as OpenMP does until threads have to wait for a core";
  }

 private:
  const bool chosen_ = std::getenv("GOMP_SPINCOUNT") || std::getenv("OMP_WAIT_POLICY") || dlsym(RTLD_DEFAULT, "kmp_set_blocktime");
  std::atomic<int> crowded_{0}, watched_{0};
};
Waiting& waiting() {
  static Waiting one;
  return one;
}

// How long this thread was without a core since the stopwatch was made. Waits of its own count too.
class Stopwatch {
 public:
  double without_core() const { return seconds(Clock::now() - start_) - (on_core() - before_); }

 private:
  static double on_core() {
    timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
  }
  const Clock::time_point start_ = Clock::now();
  const double before_ = on_core();
};

// Each thread takes tasks until there are none; the next phase starts when those that were taken are done.
struct Turns {
  struct alignas(64) Progress {
    std::atomic<int> next{0}, done{0};
  };
  const std::vector<Phase>& phases;
  std::vector<Progress> progress{phases.size()};
  const std::thread::id caller = std::this_thread::get_id();
  const Clock::time_point start = Clock::now();
  const std::optional<Stopwatch> watch = waiting().watches() ? std::optional<Stopwatch>(std::in_place) : std::nullopt;
  Clock::time_point done;              // when the caller saw all phases done
  std::atomic<bool> robbed{false};     // whether a thread that had work was without a core

  void take(size_t k) {
    const Phase& phase = phases[k];
    Progress& at = progress[k];
    for (int i; (i = at.next.fetch_add(1)) < phase.count;) {
      phase.task(i);
      at.done.fetch_add(1, std::memory_order_acq_rel);
    }
  }
  static void work(void* self) {
    FlushDenormals flush;
    auto& turns = *static_cast<Turns*>(self);
    const bool calls = std::this_thread::get_id() == turns.caller;
    for (size_t k = 0; k < turns.phases.size(); k++) {
      if (turns.watch) {
        const Stopwatch own, &watch = calls && k == 0 ? *turns.watch : own;   // the others have been woken meanwhile
        turns.take(k);
        if (watch.without_core() >= Waiting::LATE) turns.robbed = true;
      } else {
        turns.take(k);
      }
      Progress& at = turns.progress[k];
      wait_until([&] { return at.done.load(std::memory_order_acquire) >= turns.phases[k].count; });
    }
    if (calls) turns.done = Clock::now();
  }
  // On OpenMP's threads.
  void run(OpenMP openmp, int threads) {
    openmp(work, this, (unsigned)threads, 0);
    if (waiting().settled()) return;
    const auto end = Clock::now();
    waiting().ended(seconds(end - start), seconds(end - done), robbed);
  }
};

struct Side {
  const std::function<void(int, int)>* task;
  static void work(void* self) {
    static const auto rank = (int (*)())dlsym(RTLD_DEFAULT, "omp_get_thread_num");
    static const auto size = (int (*)())dlsym(RTLD_DEFAULT, "omp_get_num_threads");
    FlushDenormals flush;
    (*static_cast<Side*>(self)->task)(rank(), size());
  }
};

std::atomic<Pool*> pool{nullptr};

Pool& the_pool() {
  static std::once_flag once;
  std::call_once(once, [] {
    pool = new Pool;                                     // never destroyed: workers may outlive main
    pthread_atfork(nullptr, nullptr, [] {
      forked = true;
      pool = new Pool;                                   // threads do not survive a fork
    });
  });
  return *pool.load();
}

}  // namespace

void parallel(int count, int threads, const std::function<void(int)>& task) {
  if (threads > 1 && count > 1) in_turn({{count, threads, task}});
  else the_pool().run(count, threads, task);
}

void in_turn(const std::vector<Phase>& phases) {
  int threads = 1;
  for (const Phase& phase : phases)
    if (phase.count > 1) threads = std::max(threads, phase.threads);
  Pool& own = the_pool();
  Turns turns{phases};
  if (const OpenMP run = openmp(); run && threads > 1) turns.run(run, threads);
  else own.run(threads, threads, [&](int) { Turns::work(&turns); });
}

void together(int threads, const std::function<void(int, int)>& task) {
  static const bool known = dlsym(RTLD_DEFAULT, "omp_get_thread_num") && dlsym(RTLD_DEFAULT, "omp_get_num_threads");
  if (const OpenMP run = openmp(); run && known && threads > 1) {
    Side side{&task};
    run(Side::work, &side, (unsigned)threads, 0);
  } else if (OWN_THREADS && threads > 1) {
    std::vector<std::thread> others;
    const auto work = [&](int rank) {
      FlushDenormals flush;
      task(rank, threads);
    };
    for (int rank = 1; rank < threads; rank++) others.emplace_back(work, rank);
    work(0);
    for (std::thread& other : others) other.join();
  } else {
    parallel(1, 1, [&](int) { task(0, 1); });   // our own workers come when they can
  }
}

const char* waits_how() { return openmp() ? waiting().how() : "briefly"; }

const char* threads_of() { return openmp() ? "OpenMP, shared with torch" : "own"; }

}  // namespace unspool
