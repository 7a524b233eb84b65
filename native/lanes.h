// Which tokens go through the next step. A lane holds one sequence; when it ends the next one takes its place,
// so tiles stay full although lengths differ.
#pragma once
#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

namespace unspool {

struct Lane {
  int64_t sequence, row, step_row, left;   // row: of the step to come; step_row: +1 or -1; left: steps to go
  int64_t done;                            // steps behind it
  int id;                                  // of its buffers
};

// The sequences of one task, longest first.
class Lanes {
 public:
  Lanes(const std::vector<int64_t>& sequences, const int64_t* offsets, bool backwards, int tile_rows)
      : sequences_(sequences), offsets_(offsets), backwards_(backwards) {
    int64_t total = 0, longest = 1;
    for (int64_t s : sequences_) {
      total += length(s);
      longest = std::max(longest, length(s));
    }
    // Enough lanes to end with the longest sequence, in tiles as full as they go.
    const int64_t needed = std::max<int64_t>((total + longest - 1) / longest, tile_rows);
    const int64_t groups = std::max<int64_t>(1, needed / (2 * tile_rows));
    count_ = (int)std::min<int64_t>((needed + groups - 1) / groups, (int64_t)sequences_.size());
    for (int id = 0; id < count_; id++) active.push_back(start(id));
  }
  int count() const { return count_; }
  void advance() {
    for (size_t i = 0; i < active.size();) {
      Lane& lane = active[i];
      lane.row += lane.step_row;
      lane.done++;
      if (--lane.left > 0) {
        i++;
      } else if (next_ < sequences_.size()) {
        lane = start(lane.id);
        i++;
      } else {
        active.erase(active.begin() + i);
      }
    }
  }
  std::vector<Lane> active;

 private:
  int64_t length(int64_t s) const { return offsets_[s + 1] - offsets_[s]; }
  Lane start(int id) {
    const int64_t s = sequences_[next_++];
    return {s, backwards_ ? offsets_[s + 1] - 1 : offsets_[s], backwards_ ? -1 : 1, length(s), 0, id};
  }
  const std::vector<int64_t>& sequences_;
  const int64_t* offsets_;
  bool backwards_;
  int count_ = 0;
  size_t next_ = 0;
};

// Non-empty sequences in `shares` lots of about equal length, each longest first.
inline std::vector<std::vector<int64_t>> share_out(int64_t sequences, const int64_t* offsets, int shares) {
  std::vector<int64_t> order;
  for (int64_t s = 0; s < sequences; s++)
    if (offsets[s + 1] > offsets[s]) order.push_back(s);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return offsets[a + 1] - offsets[a] > offsets[b + 1] - offsets[b];
  });
  std::vector<std::vector<int64_t>> lots(shares);
  std::vector<int64_t> load(shares, 0);
  for (int64_t s : order) {
    const int least = (int)(std::min_element(load.begin(), load.end()) - load.begin());
    lots[least].push_back(s);
    load[least] += offsets[s + 1] - offsets[s];
  }
  return lots;
}

}  // namespace unspool
