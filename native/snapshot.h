// What Python objects a cell's step reads, and whether they still are the same objects.
#pragma once

#include <nanobind/nanobind.h>

#include <utility>
#include <vector>

namespace unspool {

namespace nb = nanobind;

// Whole dicts, single entries of dicts (also that there is none), closures' cells, and functions' code and defaults (as
// tools that reload a module replace them), all by identity. It holds what they hold, so that no address is used again,
// and tells Python's collector: a cell may be among them.
class Snapshot {
 public:
  // entries: (dict, key, value), or (dict, key) where there is none. closures: (cell, value).
  Snapshot(const std::vector<nb::dict>& dicts, const std::vector<nb::tuple>& entries, const std::vector<nb::tuple>& closures,
           const std::vector<nb::object>& functions) {
    for (const nb::dict& d : dicts) {
      dicts_.push_back({d, items_.size()});
      for (auto [key, value] : d) items_.push_back({nb::borrow(key), nb::borrow(value)});
    }
    for (const nb::tuple& e : entries) {
      if ((e.size() != 2 && e.size() != 3) || !PyDict_Check(nb::object(e[0]).ptr()))
        throw nb::type_error("An entry is (dict, key) or (dict, key, value).");
      entries_.push_back({nb::object(e[0]), nb::object(e[1]), e.size() > 2 ? nb::object(e[2]) : nb::object()});
    }
    for (const nb::tuple& c : closures) {
      if (c.size() != 2 || !PyCell_Check(nb::object(c[0]).ptr())) throw nb::type_error("A closure is (cell, value).");
      closures_.push_back({nb::object(c[0]), nb::object(c[1])});
    }
    for (const nb::object& f : functions) {
      if (!PyFunction_Check(f.ptr())) throw nb::type_error("A function is one of Python's.");
      functions_.push_back({f, nb::borrow(PyFunction_GET_CODE(f.ptr())), nb::borrow(PyFunction_GET_DEFAULTS(f.ptr())),
                            nb::borrow(PyFunction_GET_KW_DEFAULTS(f.ptr()))});
    }
  }

  bool holds() const {
    for (size_t i = 0; i < dicts_.size(); i++) {
      const size_t first = dicts_[i].second, last = i + 1 < dicts_.size() ? dicts_[i + 1].second : items_.size();
      size_t at = first;
      Py_ssize_t place = 0;
      for (PyObject *key, *value; PyDict_Next(dicts_[i].first.ptr(), &place, &key, &value); at++)
        if (at == last || key != items_[at].first.ptr() || value != items_[at].second.ptr()) return false;
      if (at != last) return false;
    }
    for (const Entry& e : entries_) {
      PyObject* found = PyDict_GetItemWithError(e.dict.ptr(), e.key.ptr());
      if (!found && PyErr_Occurred()) nb::raise_python_error();
      if (found != e.value.ptr()) return false;
    }
    for (const auto& [cell, value] : closures_)
      if (PyCell_GET(cell.ptr()) != value.ptr()) return false;
    for (const Function& f : functions_)
      if (PyFunction_GET_CODE(f.function.ptr()) != f.code.ptr() || PyFunction_GET_DEFAULTS(f.function.ptr()) != f.defaults.ptr() ||
          PyFunction_GET_KW_DEFAULTS(f.function.ptr()) != f.named_defaults.ptr())
        return false;
    return true;
  }

  int visit(visitproc visit, void* arg) const {
    for (const auto& [dict, at] : dicts_) Py_VISIT(dict.ptr());
    for (const auto& [key, value] : items_) {
      Py_VISIT(key.ptr());
      Py_VISIT(value.ptr());
    }
    for (const Entry& e : entries_) {
      Py_VISIT(e.dict.ptr());
      Py_VISIT(e.key.ptr());
      Py_VISIT(e.value.ptr());
    }
    for (const auto& [cell, value] : closures_) {
      Py_VISIT(cell.ptr());
      Py_VISIT(value.ptr());
    }
    for (const Function& f : functions_) {
      Py_VISIT(f.function.ptr());
      Py_VISIT(f.code.ptr());
      Py_VISIT(f.defaults.ptr());
      Py_VISIT(f.named_defaults.ptr());
    }
    return 0;
  }
  void clear() {
    // What goes with them may call Python, so the members are empty first.
    auto dicts = std::move(dicts_);
    auto items = std::move(items_);
    auto entries = std::move(entries_);
    auto closures = std::move(closures_);
    auto functions = std::move(functions_);
    dicts_.clear(), items_.clear(), entries_.clear(), closures_.clear(), functions_.clear();
  }

 private:
  struct Entry {
    nb::object dict, key, value;
  };
  struct Function {
    nb::object function, code, defaults, named_defaults;
  };
  std::vector<std::pair<nb::dict, size_t>> dicts_;   // and where its items start
  std::vector<std::pair<nb::object, nb::object>> items_;
  std::vector<Entry> entries_;
  std::vector<std::pair<nb::object, nb::object>> closures_;
  std::vector<Function> functions_;
};

inline int snapshot_traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  return nb::inst_ready(self) ? nb::inst_ptr<Snapshot>(self)->visit(visit, arg) : 0;
}
inline int snapshot_clear(PyObject* self) {
  if (nb::inst_ready(self)) nb::inst_ptr<Snapshot>(self)->clear();
  return 0;
}
inline PyType_Slot snapshot_slots[] = {
    {Py_tp_traverse, (void*)snapshot_traverse}, {Py_tp_clear, (void*)snapshot_clear}, {0, nullptr}};

inline void bind_snapshot(nb::module_& m) {
  nb::class_<Snapshot>(m, "Snapshot", nb::type_slots(snapshot_slots))
      .def(nb::init<const std::vector<nb::dict>&, const std::vector<nb::tuple>&, const std::vector<nb::tuple>&,
                    const std::vector<nb::object>&>(),
           nb::arg("dicts"), nb::arg("entries") = std::vector<nb::tuple>(), nb::arg("closures") = std::vector<nb::tuple>(),
           nb::arg("functions") = std::vector<nb::object>())
      .def("holds", &Snapshot::holds);
}

}  // namespace unspool
