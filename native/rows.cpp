#include "rows.h"

#include <cstring>

#include "calls.h"
#include "pool.h"

namespace unspool {
namespace {

constexpr int64_t SHARE = 1 << 18;   // bytes that are worth a thread

struct Run {   // of rows that lie one behind the other on both sides
  int64_t value, row, count;
};

struct Places {
  const int64_t *offsets, *starts, *at;
  int64_t sequences, longest;
};

Places places_of(nb::handle offsets, nb::handle starts, nb::handle at, int64_t rows) {
  const Array ends = open_ints(offsets, {"the offsets"}), first = open_ints(starts, {"the starts"}),
              steps = open_ints(at, {"the places of steps"});
  check_offsets(ends.ints(), ends.columns, rows);
  if (first.columns != ends.columns - 1)
    refuse(Error::DATA, "The starts must be " + std::to_string(ends.columns - 1) + ", one a sequence. Got " +
                            std::to_string(first.columns) + ".");
  return {ends.ints(), first.ints(), steps.ints(), first.columns, steps.columns};
}

// Which rows of the block are taken is noted in `taken`, where it has room.
std::vector<Run> runs_of(const Places& p, int64_t rows, std::vector<char>& taken) {
  std::vector<Run> runs;
  for (int64_t s = 0; s < p.sequences; s++) {
    const int64_t length = p.offsets[s + 1] - p.offsets[s];
    if (length > p.longest)
      refuse(Error::DATA, "A sequence has " + std::to_string(length) + " steps. Got places of " + std::to_string(p.longest) + ".");
    for (int64_t t = 0; t < length; t++) {
      const __int128 there = (__int128)p.starts[s] + p.at[t];
      if (there < 0 || there >= rows)
        refuse(Error::INDEX, "Step " + std::to_string(t) + " of sequence " + std::to_string(s) + " must be in [0, " +
                                 std::to_string(rows) + "), the rows of the block.");
      const auto row = (int64_t)there;
      if (!taken.empty() && taken[row]++)
        refuse(Error::DATA, "Row " + std::to_string(row) + " of the block must be one step's. Got two.");
      if (!runs.empty() && runs.back().row + runs.back().count == row)
        runs.back().count++;
      else
        runs.push_back({p.offsets[s] + t, row, 1});
    }
  }
  return runs;
}

void copy(const Bytes& to, int64_t to_row, const Bytes& from, int64_t from_row, int64_t count) {
  char* out = to.data + to_row * to.stride;
  const char* in = from.data + from_row * from.stride;
  if (to.stride == to.width && from.stride == from.width) {
    std::memcpy(out, in, (size_t)(count * to.width));
  } else {
    for (int64_t i = 0; i < count; i++) std::memcpy(out + i * to.stride, in + i * from.stride, (size_t)to.width);
  }
}

void fill(const Bytes& block, int64_t row, int64_t count, const char* number, bool zero) {
  char* out = block.data + row * block.stride;
  if (zero && block.stride == block.width) {
    std::memset(out, 0, (size_t)(count * block.width));
    return;
  }
  for (int64_t n = 0; n < count; n++, out += block.stride)
    for (int64_t i = 0; i < block.width; i += block.item) std::memcpy(out + i, number, (size_t)block.item);
}

}  // namespace

void move_rows(nb::handle values_, nb::handle block_, nb::handle offsets, nb::handle starts, nb::handle at,
               nb::handle fill_, int threads) {
  const Bytes values = open_bytes(values_, {"the values"}), block = open_bytes(block_, {"the block"});
  if (values.dtype != block.dtype || values.width != block.width)
    refuse(Error::ENGINE, "The values and the block must have one dtype and rows of one width. Got rows of " +
                              std::to_string(values.width) + " and " + std::to_string(block.width) + " bytes.");
  const bool put = !fill_.is_none();
  const Bytes& written = put ? block : values;
  if (written.rows > 1 && written.stride < written.width)
    refuse(Error::ENGINE, "What is written must have rows apart from each other.");
  Bytes number;
  if (put) {
    number = open_bytes(fill_, {"the fill"});
    if (number.dtype != block.dtype || number.rows != 1 || number.width != number.item)
      refuse(Error::ENGINE, "The fill must be one number, (1,), of the block's dtype.");
  }
  const Places places = places_of(offsets, starts, at, values.rows);
  std::vector<char> taken(put ? (size_t)block.rows : 0);
  const std::vector<Run> runs = runs_of(places, block.rows, taken);
  const int64_t bytes = (put ? block.rows : values.rows) * values.width;
  const auto shares = std::min<int64_t>(checked_threads(threads), 1 + bytes / SHARE);
  const bool zero = put && std::count(number.data, number.data + number.item, 0) == number.item;

  nb::gil_scoped_release release;
  parallel((int)shares, (int)shares, [&](int k) {
    const int64_t first = values.rows * k / shares, last = values.rows * (k + 1) / shares;
    auto run = std::upper_bound(runs.begin(), runs.end(), first, [](int64_t n, const Run& r) { return n < r.value; });
    for (run -= run != runs.begin(); run != runs.end() && run->value < last; ++run) {
      const int64_t from = std::max(first, run->value), to = std::min(last, run->value + run->count);
      const int64_t row = run->row + from - run->value;
      if (from >= to) continue;
      put ? copy(block, row, values, from, to - from) : copy(values, from, block, row, to - from);
    }
    if (!put) return;
    const auto begin = taken.begin(), stop = begin + block.rows * (k + 1) / shares;
    for (auto free = begin + block.rows * k / shares;;) {
      free = std::find(free, stop, 0);
      if (free == stop) break;
      const auto next = std::find(free, stop, 1);
      fill(block, free - begin, next - free, number.data, zero);
      free = next;
    }
  });
}

void peak_rows(nb::handle values_, nb::handle offsets_, nb::handle places, int threads) {
  const Array offsets = open_ints(offsets_, {"the offsets"}), values = open(values_, {"the values"});
  if (values.column_stride != 1 && values.columns > 1)
    refuse(Error::ENGINE, "The values must have rows whose numbers lie side by side.");
  check_offsets(offsets.ints(), offsets.columns, values.rows);
  const int64_t* ends = offsets.ints();
  const int64_t sequences = offsets.columns - 1, width = values.columns;
  int64_t* out = open_block(places, {"the places"}, {sequences, width}, Type::INT64).ints();
  const auto bytes = (int64_t)sizeof(float) * values.rows * width;
  const auto shares = std::max<int64_t>(1, std::min({(int64_t)checked_threads(threads), 1 + bytes / SHARE, sequences}));

  nb::gil_scoped_release release;
  parallel((int)shares, (int)shares, [&](int k) {
    for (int64_t s = sequences * k / shares; s < sequences * (k + 1) / shares; s++) {
      const int64_t first = ends[s], count = ends[s + 1] - first;
      if (count)
        kernels().peaks(values.floats() + first * values.row_stride, values.row_stride, count, width, first, out + s * width);
      else
        std::fill_n(out + s * width, width, 0);
    }
  });
}

}  // namespace unspool
