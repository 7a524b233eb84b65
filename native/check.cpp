// Whether a program reads and writes within what it is given.
#include <algorithm>
#include <stdexcept>
#include <string>

#include "program.h"

namespace unspool {
namespace {

constexpr int64_t LARGEST = 1 << 28;   // floats a row

void need(bool right, const std::string& message) {
  if (!right) throw std::invalid_argument("Not a program: " + message + ".");
}

// Floats a row of a buffer; -1 where there is none of that number.
int64_t width_of(const Program& p, int64_t scratch, int buffer) {
  switch (buffer) {
    case SCRATCH: return scratch;
    case VEC: return p.vectors;
    case X: case DX: return p.input;
    case PRO: return p.pro;
    case PSTASH: return p.pstash;
    case LSTASH: return p.lstash;
    case BSTASH: return p.bstash;
    case PGRAD: return p.pgrad;
    case PBSTASH: return p.pbstash;
    case DY: return p.state_widths[0];
  }
  if (buffer < STATE_IN || buffer >= BUFFERS) return -1;
  const size_t part = (buffer - STATE_IN) % MAX_STATES;
  return part < p.state_widths.size() ? p.state_widths[part] : -1;
}
// A buffer of state parts by the first of them.
int kind(int buffer) {
  return buffer < STATE_IN ? buffer : STATE_IN + (buffer - STATE_IN) / MAX_STATES * MAX_STATES;
}

struct Access {
  std::vector<int> read, written;   // besides scratch, and vectors, which are read
};

class TapeCheck {
 public:
  TapeCheck(const Program& p, const Tape& tape, const char* name, const Access& access)
      : p_(p), tape_(tape), name_(name), access_(access) {
    need(tape.scratch >= 0 && tape.scratch < LARGEST, where() + "scratch of " + std::to_string(tape.scratch) + " floats");
    for (; at_ < tape.code.size(); at_++) instruction(tape.code[at_]);
  }

 private:
  std::string where() const { return std::string(name_) + ", instruction " + std::to_string(at_) + ": "; }

  void instruction(const Instr& i) {
    constexpr int ARITY[] = {
#define UNSPOOL_ARITY(name, arity) arity,
        UNSPOOL_OPS(UNSPOOL_ARITY)
#undef UNSPOOL_ARITY
    };
    need((int)i.op >= 0 && (size_t)i.op < std::size(ARITY), where() + "no operation " + std::to_string((int)i.op));
    need(i.width >= (i.op == Op::amax_ ? 1 : 0), where() + "width " + std::to_string(i.width));
    if (i.op == Op::matmul_) {
      need(i.matrix >= 0 && (size_t)i.matrix < p_.matrices.size(), where() + "no matrix " + std::to_string(i.matrix));
      const MatrixSpec& m = p_.matrices[i.matrix];
      need(i.inner == m.inner && i.width == m.width, where() + "a product of another size than its matrix");
      operand(i.a, i.inner, false);
      if (i.b.buffer != -1) operand(i.b, i.width, false);
      return operand(i.out, i.width, true);
    }
    if ((i.op >= Op::take_ && i.op <= Op::contract_) || (i.op >= Op::order_ && i.op <= Op::drop_)) return axes(i);
    need(i.pattern.empty(), where() + "a pattern of an operation that has none");
    const bool row = i.op >= Op::sum_ && i.op <= Op::rstd_;
    const int arity = ARITY[(int)i.op];
    const Operand* operands[] = {&i.a, &i.b, &i.c};
    for (int k = 0; k < arity; k++) {
      const bool one = i.op == Op::rstd_ ? k > 0 : !row && operands[k]->broadcast;
      operand(*operands[k], one ? 1 : i.width, false);
    }
    if (row)   // which reads past its operands as if they were the first
      for (int k = arity; k < 3; k++) need(operands[k]->buffer == -1, where() + "too many operands");
    operand(i.out, row ? 1 : i.width, true);
  }

  // Rows seen as several axes (axes.h).
  void axes(const Instr& i) const {
    const std::vector<int32_t>& p = i.pattern;
    if (i.op == Op::gmax_) {
      need(p.size() == 1 && p[0] >= 1, where() + "groups of no size");
      operand(i.a, (int64_t)i.width * p[0], false);
    } else if (i.op == Op::order_) {
      need(p.size() == 4 && p[1] >= 1 && p[0] >= p[1] && p[0] < 1 << 24 && i.width % p[1] == 0 && p[3] >= 0 && p[3] <= 2,
           where() + "an order of groups that have none");
      operand(i.a, (int64_t)(i.width / p[1]) * p[0], false);
    } else if (i.op == Op::pick_ || i.op == Op::drop_) {
      need(p.size() == 1 && p[0] >= 1 && p[0] < 1 << 24 && i.width >= 1 && i.width < 1 << 24,
           where() + "places in a row that has none");
      operand(i.a, p[0], false);
      operand(i.b, i.op == Op::pick_ ? i.width : p[0], false);
    } else if (i.op == Op::contract_) {
      need(p.size() == 13, where() + "a product of rows with " + std::to_string(p.size()) + " numbers, of 13");
      operand(i.out, span(0, {{p[0], p[4]}, {p[1], p[5]}, {p[2], p[6]}}, i.width), true);
      operand(i.a, span(0, {{p[0], p[7]}, {p[1], p[8]}, {p[3], p[9]}}, LARGEST), false);
      operand(i.b, span(0, {{p[0], p[10]}, {p[3], p[11]}, {p[2], p[12]}}, LARGEST), false);
    } else {
      need(p.size() >= 3 && p.size() % 2 == 1 && p.size() <= 2 * MAX_AXES + 1,
           where() + "a pattern of " + std::to_string(p.size()) + " numbers");
      std::vector<Axis> all;
      int64_t numbers = 1;
      for (size_t k = 1; k < p.size(); k += 2) {
        all.push_back({p[k], p[k + 1]});
        numbers = std::min(LARGEST, numbers * p[k]);
      }
      const bool put = i.op == Op::put_;
      const int64_t reached = span(p[0], all, put ? i.width : LARGEST);
      need(put || numbers == i.width, where() + "a pattern of " + std::to_string(numbers) + " numbers");
      operand(i.a, put ? numbers : reached, false);
    }
    operand(i.out, i.width, true);
  }
  struct Axis {
    int64_t size, stride;
  };
  // Columns that are reached from `first` on, at most `most`.
  int64_t span(int64_t first, const std::vector<Axis>& all, int64_t most) const {
    int64_t low = first, high = first;
    for (const Axis& axis : all) {
      need(axis.size >= 1 && axis.size < LARGEST, where() + "an axis of size " + std::to_string(axis.size));
      (axis.stride < 0 ? low : high) += (axis.size - 1) * axis.stride;
    }
    need(low >= 0 && high < most, where() + "a pattern from column " + std::to_string(low) + " to " + std::to_string(high));
    return high + 1;
  }

  void operand(const Operand& o, int64_t width, bool written) const {
    const auto& some = written ? access_.written : access_.read;
    const bool allowed = o.buffer == SCRATCH || (!written && o.buffer == VEC) ||
                         std::find(some.begin(), some.end(), kind(o.buffer)) != some.end();
    const int64_t all = allowed ? width_of(p_, tape_.scratch, o.buffer) : -1;
    need(all >= 0, where() + (written ? "writes" : "reads") + " buffer " + std::to_string(o.buffer));
    need(o.offset >= 0 && o.offset + width <= all,
         where() + "columns " + std::to_string(o.offset) + " to " + std::to_string(o.offset + width) + " of buffer " +
             std::to_string(o.buffer) + ", which has " + std::to_string(all));
  }

  const Program& p_;
  const Tape& tape_;
  const char* name_;
  const Access& access_;
  size_t at_ = 0;
};

class SpecCheck {
 public:
  explicit SpecCheck(const Program& p) : p_(p) {
    for (const MatrixSpec& m : p.matrices) matrix(m);
    for (const VectorSpec& v : p.vector_parts) {
      need(v.offset >= 0 && v.width >= 0 && (int64_t)v.offset + v.width <= p.vectors, "a vector outside the vectors");
      const Shape& s = shape(v.source);
      const bool row = s.empty() || std::all_of(s.begin(), s.end() - 1, [](int64_t n) { return n == 1; });
      need(row && v.first >= 0 && (int64_t)v.first + v.width <= (s.empty() ? 1 : s.back()),
           "a vector outside source " + std::to_string(v.source));
    }
    for (const ConstantSpec& c : p.constants)
      need(c.offset >= 0 && c.offset < p.vectors, "a constant outside the vectors");
    for (const OuterSpec& o : p.outers) {
      need(o.matrix >= 0 && (size_t)o.matrix < p.matrices.size(), "no matrix " + std::to_string(o.matrix));
      place(o.source, p.matrices[o.matrix].inner);
      place(o.gradient, p.matrices[o.matrix].width);
      need(o.source.prologue == o.gradient.prologue, "a product of rows of the input with rows of tokens");
    }
    for (const SumSpec& s : p.sums) {
      need(s.width >= 0 && s.first >= 0, "a sum of " + std::to_string(s.width) + " columns");
      place(s.gradient, s.width);
      if (s.factor.buffer != -1) {
        place(s.factor, s.width);
        need(s.factor.prologue == s.gradient.prologue, "a product of rows of the input with rows of tokens");
      }
      int64_t numbers = 1;
      for (int64_t n : shape(s.source)) numbers *= n;
      need((int64_t)s.first + s.width <= numbers, "a sum outside source " + std::to_string(s.source));
    }
  }

 private:
  using Shape = std::vector<int64_t>;
  const Shape& shape(int32_t source) const {
    need(source >= 0 && (size_t)source < p_.sources.size(), "no source " + std::to_string(source));
    return p_.sources[source].shape;
  }
  void matrix(const MatrixSpec& m) const {
    const Shape& s = shape(m.source);
    const int64_t rows = m.transposed ? m.width : m.inner, columns = m.transposed ? m.inner : m.width;
    need(s.size() == 2 && rows >= 0 && columns >= 0 && m.row >= 0 && m.column >= 0 && m.row + rows <= s[0] &&
             m.column + columns <= s[1],
         "a matrix outside source " + std::to_string(m.source));
  }
  // Rows of a sum, as rows_of in sums.h finds them.
  void place(const Place& place, int64_t width) const {
    const int b = kind(place.buffer);
    const bool of_input = b == PBSTASH, either = b == PGRAD || b == X || b == PSTASH;
    const bool of_tokens = b == LSTASH || b == BSTASH || b == STATE_IN || b == STATE_OUT;
    const int64_t all = of_input || either || of_tokens ? width_of(p_, 0, place.buffer) : -1;
    need(all >= 0, "a sum of buffer " + std::to_string(place.buffer));
    need(place.prologue ? of_input || either : of_tokens || either, "a sum of other rows than buffer " +
                                                                      std::to_string(place.buffer) + " has");
    need(place.offset >= 0 && place.offset + width <= all, "a sum outside buffer " + std::to_string(place.buffer));
  }
  const Program& p_;
};

}  // namespace

void Program::check() {
  need(!state_widths.empty() && state_widths.size() <= MAX_STATES,
       std::to_string(state_widths.size()) + " state parts, of 1 to " + std::to_string(MAX_STATES));
  for (int32_t w : state_widths) need(w >= 0 && w < LARGEST, "a state of width " + std::to_string(w));
  for (int32_t w : {input, pro, pstash, lstash, bstash, pgrad, pbstash, vectors})
    need(w >= 0 && w < LARGEST, "a row of " + std::to_string(w) + " floats");
  for (const Source& s : sources)
    for (int64_t n : s.shape) need(n >= 0 && n < LARGEST, "a source of shape " + std::to_string(n));
  const SpecCheck specs(*this);
  const TapeCheck tapes[] = {
      {*this, prologue, "prologue", {{X, PRO, PSTASH}, {PRO, PSTASH}}},
      {*this, loop, "loop", {{PRO, LSTASH, STATE_IN, STATE_OUT}, {LSTASH, STATE_OUT}}},
      {*this, loop_back, "loop_back",
       {{X, PSTASH, LSTASH, BSTASH, PGRAD, DY, STATE_IN, STATE_OUT, ADJ_IN, ADJ_OUT}, {BSTASH, PGRAD, ADJ_OUT}}},
      {*this, prologue_back, "prologue_back", {{X, PSTASH, PGRAD, PBSTASH, DX}, {PBSTASH, DX}}},
  };
  (void)specs;
  (void)tapes;
  need(!prologue.code.empty() || pro == 0, "rows of a prologue that has no instructions");
  need(!loop_back.code.empty() || (pstash == 0 && lstash == 0 && prologue_back.code.empty() && outers.empty() && sums.empty()),
       "rows kept for a backward that has no instructions");
  writes_dx = std::any_of(prologue_back.code.begin(), prologue_back.code.end(),
                          [](const Instr& i) { return i.out.buffer == DX; });
  reads.clear();
  for (const MatrixSpec& m : matrices) reads.push_back(m.source);
  for (const VectorSpec& v : vector_parts) reads.push_back(v.source);
  for (const SumSpec& s : sums) reads.push_back(s.source);
}

}  // namespace unspool
