// Threads that share out the tasks of one call: torch's OpenMP threads, or, without them, workers of our own.
#pragma once
#include <functional>
#include <vector>

namespace unspool {

// Runs task(0) ... task(count - 1), on up to `threads` threads, this one included; returns when all are done.
// A call made while another thread's call has the workers runs its tasks on its own thread.
void parallel(int count, int threads, const std::function<void(int)>& task);

struct Phase {
  int count;                 // tasks 0 ... count - 1
  int threads;               // that they are worth
  std::function<void(int)> task;
};
// Runs the phases one after another. All in one go: a thread that comes late is not waited for between them.
void in_turn(const std::vector<Phase>& phases);

// Runs task(rank, size) on `size` threads at the same time, as many as `threads` or as there are.
void together(int threads, const std::function<void(int, int)>& task);

// Whose threads those are, and how long they spin where they wait.
const char* threads_of();
const char* waits_how();

}  // namespace unspool
