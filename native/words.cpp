#include "words.h"

#include <array>
#include <cstring>
#include <random>
#include <stdexcept>
#include <string_view>
#include <vector>

namespace nb = nanobind;

namespace unspool {
namespace {

// Different strings, numbered in the order in which they first come.
class Names {
 public:
  size_t size() const { return ends_.size() - 1; }
  std::string_view operator[](size_t i) const { return {bytes_.data() + ends_[i], ends_[i + 1] - ends_[i]}; }

  // Where a string of up to `count` bytes may be written, for `number` to read.
  char* room(size_t count) {
    if (bytes_.size() < ends_.back() + count + sizeof(uint64_t)) bytes_.resize(2 * (ends_.back() + count) + 64);
    return bytes_.data() + ends_.back();
  }

  int32_t number(size_t count) {
    const char* text = bytes_.data() + ends_.back();
    const uint64_t hash = hashed(text, count);
    size_t place = hash & (table_.size() - 1);
    for (; table_[place] >= 0; place = (place + 1) & (table_.size() - 1)) {
      const auto known = (size_t)table_[place];
      if (hashes_[known] == hash && (*this)[known] == std::string_view(text, count)) return (int32_t)known;
    }
    if (size() >= INT32_MAX) throw std::length_error("More than 2^31 - 1 different words.");
    const auto number = (int32_t)size();
    table_[place] = number;
    hashes_.push_back(hash);
    ends_.push_back(ends_.back() + count);
    if (2 * size() > table_.size()) grow();
    return number;
  }

 private:
  // Products of 128 bits, folded, from two numbers drawn in each process: nobody can make texts whose words collide.
  static uint64_t hashed(const char* text, size_t count) {
    static const std::array<uint64_t, 2> drawn = [] {
      std::random_device random;
      return std::array<uint64_t, 2>{(uint64_t)random() << 32 | random(), (uint64_t)random() << 32 | random() | 1};
    }();
    uint64_t hash = drawn[0] ^ count;
    for (size_t i = 0; i < count; i += sizeof(uint64_t)) {
      uint64_t part = 0;
      std::memcpy(&part, text + i, std::min(sizeof part, count - i));
      const auto product = (unsigned __int128)(hash ^ part) * (drawn[1] ^ i);
      hash = (uint64_t)product ^ (uint64_t)(product >> 64);
    }
    return hash;
  }

  void grow() {
    table_.assign(4 * table_.size(), -1);
    for (size_t i = 0; i < size(); i++) {
      size_t place = hashes_[i] & (table_.size() - 1);
      while (table_[place] >= 0) place = (place + 1) & (table_.size() - 1);
      table_[place] = (int32_t)i;
    }
  }

  std::vector<char> bytes_;
  std::vector<size_t> ends_{0};
  std::vector<uint64_t> hashes_;
  std::vector<int32_t> table_ = std::vector<int32_t>(256, -1);
};

enum Class : uint8_t { MARK, SPACE, WORD };

constexpr std::array<Class, 128> CLASSES = [] {
  std::array<Class, 128> classes{};
  for (int c = 0; c < 128; c++) {
    const bool word = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
    classes[(size_t)c] = word ? WORD : c == ' ' || (c >= '\t' && c <= '\r') ? SPACE : MARK;
  }
  return classes;
}();

// A str of Python, its characters 1, 2 or 4 bytes each. It lives and stays as it is while somebody has it.
struct Text {
  const void* data;
  size_t length;
  int kind;
  bool ascii;

  static Text of(PyObject* text) {
    if (!PyUnicode_Check(text)) throw nb::type_error("The texts must be str.");
#if PY_VERSION_HEX < 0x030c0000
    if (PyUnicode_READY(text)) throw nb::python_error();
#endif
    return {PyUnicode_DATA(text), (size_t)PyUnicode_GET_LENGTH(text), (int)PyUnicode_KIND(text),
            (bool)PyUnicode_IS_ASCII(text)};
  }
  uint32_t operator[](size_t i) const {
    return kind == 1 ? ((const uint8_t*)data)[i] : kind == 2 ? ((const uint16_t*)data)[i] : ((const uint32_t*)data)[i];
  }
};

struct Splitter {
  bool lower;
  Names names, odd;
  std::vector<int32_t> codes;
  std::vector<int64_t> offsets{0};
  std::vector<char> piece;

  // A word: [0-9A-Za-z_]+, further ones behind an apostrophe each. Any other character but a space is one by itself.
  void split_ascii(const char* text, size_t length) {
    for (size_t i = 0; i < length;) {
      const char first = text[i++];
      const Class kind = CLASSES[(size_t)first];
      if (kind == SPACE) continue;
      char* word = names.room(length - i + 1);
      size_t count = 0;
      word[count++] = folded(first);
      if (kind == WORD)
        for (; i < length; word[count++] = folded(text[i++]))
          if (CLASSES[(size_t)text[i]] != WORD &&
              !(text[i] == '\'' && i + 1 < length && CLASSES[(size_t)text[i + 1]] == WORD))
            break;
      codes.push_back(names.number(count));
    }
  }

  char folded(char c) const { return lower && c >= 'A' && c <= 'Z' ? (char)(c + 32) : c; }

  void split(const Text& text) {
    if (text.ascii) {
      split_ascii((const char*)text.data, text.length);
    } else {
      for (size_t begin = 0, end; begin < text.length; begin = end + 1) {
        uint32_t seen = 0;
        for (end = begin; end < text.length && text[end] != ' '; end++) seen |= text[end];
        if (seen < 128) {
          piece.resize(end - begin);
          for (size_t i = begin; i < end; i++) piece[i - begin] = (char)text[i];
          split_ascii(piece.data(), piece.size());
        } else {
          codes.push_back(~odd.number(write_utf8(text, begin, end, odd.room(4 * (end - begin)))));
        }
      }
    }
    offsets.push_back((int64_t)codes.size());
  }

  static size_t write_utf8(const Text& text, size_t begin, size_t end, char* out) {
    char* const start = out;
    for (size_t i = begin; i < end; i++) {
      const uint32_t c = text[i];
      const int more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
      constexpr uint8_t HEADS[] = {0, 0xc0, 0xe0, 0xf0};
      *out++ = (char)(HEADS[more] | c >> (6 * more));
      for (int k = more - 1; k >= 0; k--) *out++ = (char)(0x80 | (c >> (6 * k) & 0x3f));
    }
    return (size_t)(out - start);
  }
};

nb::list list_of(const Names& names) {
  nb::object found = nb::steal(PyList_New((Py_ssize_t)names.size()));
  if (!found.ptr()) throw nb::python_error();
  for (size_t i = 0; i < names.size(); i++) {
    PyObject* name = PyUnicode_DecodeUTF8(names[i].data(), (Py_ssize_t)names[i].size(), nullptr);
    if (!name) throw nb::python_error();
    PyList_SET_ITEM(found.ptr(), (Py_ssize_t)i, name);
  }
  return nb::borrow<nb::list>(found);
}

template <class T>
nb::object bytes_of(const std::vector<T>& numbers) {
  nb::object found = nb::steal(PyByteArray_FromStringAndSize(reinterpret_cast<const char*>(numbers.data()),
                                                             (Py_ssize_t)(numbers.size() * sizeof(T))));
  if (!found.ptr()) throw nb::python_error();
  return found;
}

}  // namespace

nb::tuple split_words(nb::handle texts, bool lower) {
  if (!PyTuple_Check(texts.ptr())) throw nb::type_error("The texts must be a tuple: nobody takes one out meanwhile.");
  std::vector<Text> read;
  read.reserve((size_t)PyTuple_GET_SIZE(texts.ptr()));
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(texts.ptr()); i++) read.push_back(Text::of(PyTuple_GET_ITEM(texts.ptr(), i)));
  Splitter splitter{lower, {}, {}, {}, {0}, {}};
  {
    nb::gil_scoped_release release;
    splitter.offsets.reserve(read.size() + 1);
    for (const Text& text : read) splitter.split(text);
  }
  return nb::make_tuple(list_of(splitter.names), list_of(splitter.odd), bytes_of(splitter.codes), bytes_of(splitter.offsets));
}

}  // namespace unspool
