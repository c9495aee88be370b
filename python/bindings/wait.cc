// wait(): which of many references are ready.
//
// Programs call it in a loop with what is left of a list, so all it does with each reference costs a few nanoseconds.

#include <fmt/format.h>
#include <nanobind/stl/optional.h>

#include <algorithm>
#include <deque>
#include <optional>

#include "python/bindings/generators.h"
#include "python/bindings/module.h"
#include "python/bindings/waiting.h"

namespace ray_engine::python {
namespace {

[[noreturn]] void RefuseWait(const char* got, nb::handle what) {
  throw nb::type_error(fmt::format("wait() expected a list of ray.ObjectRef or ray.ObjectRefGenerator, got {}{}", got,
                                   nb::type_name(what.type()).c_str())
                           .c_str());
}

// What wait() was given: references, and generators by the references to their next items. References of a session
// that has ended never become ready, so they are left out as long as there are others.
class Waitables {
 public:
  explicit Waitables(nb::handle refs) {
    if (AsRef(refs) != nullptr) RefuseWait("a single ray.", refs);
    if (!nb::isinstance<nb::list>(refs)) RefuseWait("", refs);
    count_ = PyList_GET_SIZE(refs.ptr());
    entries_.reserve(count_);
    for (Py_ssize_t i = 0; i < count_; ++i) {
      const nb::handle value = PyList_GET_ITEM(refs.ptr(), i);
      if (const ObjectRef* ref = AsRef(value)) {
        Add(*ref, i);
      } else if (nb::isinstance<ObjectRefGenerator>(value)) {
        next_items_.push_back(nb::cast<const ObjectRefGenerator&>(value).Peek());
        Add(next_items_.back(), i);
      } else {
        RefuseWait("list containing ", value);
      }
    }
    if (entries_.empty() && lost_ != nullptr) lost_->Entry();  // raises
  }
  const std::vector<ObjectEntry*>& entries() const { return entries_; }
  Py_ssize_t count() const { return count_; }
  // Of an entry in what was given.
  Py_ssize_t PlaceOf(std::size_t entry) const {
    return left_out_.empty() ? static_cast<Py_ssize_t>(entry) : PlaceAmongAll(entry);
  }
  // Marks each entry, and so sees those that have been marked already.
  bool AreDistinct() const {
    bool distinct = true;
    for (ObjectEntry* entry : entries_) distinct &= !std::exchange(entry->marked, true);
    for (ObjectEntry* entry : entries_) entry->marked = false;
    return distinct;
  }

 private:
  void Add(const ObjectRef& ref, Py_ssize_t place) {
    if (ref.SessionHasEnded()) {
      lost_ = &ref;
      left_out_.push_back(place);
      return;
    }
    entries_.push_back(ref.Entry());
  }
  Py_ssize_t PlaceAmongAll(std::size_t entry) const {
    auto place = static_cast<Py_ssize_t>(entry);
    for (const Py_ssize_t left_out : left_out_) place += left_out <= place;
    return place;
  }

  std::vector<ObjectEntry*> entries_;
  std::vector<Py_ssize_t> left_out_;  // places of lost ones
  Py_ssize_t count_ = 0;
  const ObjectRef* lost_ = nullptr;
  std::deque<ObjectRef> next_items_;
};

// With the texts programs know.
void CheckWait(const Waitables& waitables, std::int64_t num_returns, nb::handle timeout) {
  if (!timeout.is_none() && nb::cast<double>(timeout) < 0) {
    throw nb::value_error(
        fmt::format("The 'timeout' argument must be nonnegative. Received {}", nb::cast<double>(timeout)).c_str());
  }
  if (!waitables.AreDistinct()) throw nb::value_error("Wait requires a list of unique ray_waitables.");
  if (num_returns <= 0) throw nb::value_error("Invalid number of objects to return 0.");
  if (num_returns > waitables.count()) {
    throw nb::value_error("num_returns cannot be greater than the number of ray_waitables provided to ray.wait.");
  }
  if (static_cast<std::size_t>(num_returns) > waitables.entries().size()) {
    throw nb::value_error(
        "wait() could never return: it was given references that belong to a session that has ended.");
  }
}

// Which of the ready objects may be called ready, by number and in order: the first `count`, and with `fetch` only
// those that are on this node, which are waited for. Nothing if one of them was lost: it may be ready again later, or
// an error.
std::optional<std::vector<std::size_t>> ChooseReady(const std::vector<ObjectEntry*>& entries, std::size_t count,
                                                    bool fetch, std::int64_t deadline) {
  auto [chosen, elsewhere] = TheRuntime().FindReady(entries, count, fetch);
  if (elsewhere.empty()) return std::move(chosen);
  std::vector<ObjectEntry*> wanted;
  for (const std::size_t i : elsewhere) wanted.push_back(entries[i]);
  PinRequest request(std::move(wanted));
  request.may_spill = false;  // who waits does not need it now
  const bool all =
      WaitForPins(&request, deadline) == WaitResult::kReady;  // what could not be fetched too: get() raises
  if (request.lost) return std::nullopt;
  for (std::size_t i = 0; i < elsewhere.size(); ++i) {
    if (all || request.pins[i] != nullptr) chosen.push_back(elsewhere[i]);
  }
  std::sort(chosen.begin(), chosen.end());
  return std::move(chosen);
}

// The ready ones of a list and the rest of it.
nb::tuple Divide(nb::handle refs, const Waitables& waitables, const std::vector<std::size_t>& chosen) {
  const Py_ssize_t found = static_cast<Py_ssize_t>(chosen.size());
  const nb::object ready = nb::steal(PyList_New(found)), rest = nb::steal(PyList_New(waitables.count() - found));
  if (!ready.is_valid() || !rest.is_valid()) throw nb::python_error();
  Py_ssize_t taken = 0;
  for (Py_ssize_t i = 0; i < waitables.count(); ++i) {
    PyObject* ref = Py_NewRef(PyList_GET_ITEM(refs.ptr(), i));
    if (taken < found && waitables.PlaceOf(chosen[taken]) == i) {
      PyList_SET_ITEM(ready.ptr(), taken++, ref);
    } else {
      PyList_SET_ITEM(rest.ptr(), i - taken, ref);
    }
  }
  return nb::make_tuple(ready, rest);
}

nb::tuple Wait(nb::handle refs, std::int64_t wanted, nb::object timeout, bool fetch_local) {
  const Waitables waitables(refs);
  const std::vector<ObjectEntry*>& entries = waitables.entries();
  if (entries.empty()) return nb::make_tuple(nb::list(), nb::list());
  CheckWait(waitables, wanted, timeout);
  // Another thread may change the list meanwhile.
  const nb::object given = nb::steal(PyList_GetSlice(refs.ptr(), 0, waitables.count()));
  const auto num_returns = static_cast<std::size_t>(wanted);
  const std::int64_t deadline = Deadline(timeout);
  std::optional<std::vector<std::size_t>> chosen;
  while (!chosen) {
    if (WaitFor(entries, num_returns, deadline, false) == WaitResult::kDisconnected) RaiseEnded();
    chosen = ChooseReady(entries, num_returns, fetch_local, deadline);
  }
  return Divide(given, waitables, *chosen);
}

constexpr char kWaitHelp[] =
    "(those of the objects that are ready, the others): returns when `num_returns` are ready.\n\n"
    "- refs: a list of references and generators, each once. A generator is ready when its next item is.\n"
    "- num_returns: how many to wait for; no more than this are called ready.\n"
    "- timeout: seconds to wait at most; None: any time.\n"
    "- fetch_local: ready means that the value is on this node; False: that it is anywhere.\n\n"
    "An object whose task failed is ready. Raises TypeError for anything but a list of these, ValueError for one "
    "twice,\n"
    "a negative timeout, or a num_returns that is not from 1 to their number.";

}  // namespace

void BindWait(nb::module_& module) {
  module.def("wait", &Wait, nb::arg("refs"), nb::arg("num_returns") = 1, nb::arg("timeout") = nb::none(),
             nb::arg("fetch_local") = true, kWaitHelp);
}

}  // namespace ray_engine::python
