// ObjectRefGenerator: what reads the items of a task that yields.
//
// Called with the GIL.

#pragma once

#include <memory>
#include <optional>
#include <utility>

#include "python/bindings/object_ref.h"

namespace ray_engine::python {

class ObjectRefGenerator {
 public:
  ObjectRefGenerator(std::shared_ptr<Stream> stream, ObjectRef completion)
      : session_(session_number), stream_(std::move(stream)), completion_(std::move(completion)) {}
  ObjectRefGenerator(ObjectRefGenerator&& other) noexcept = default;
  ObjectRefGenerator& operator=(const ObjectRefGenerator&) = delete;
  ~ObjectRefGenerator();

  // The object that ends with the task.
  const ObjectRef& completion() const { return completion_; }
  // The next item, or what becomes ready where there is none. Raises if its session has ended.
  ObjectRef Peek() const;
  // The next item; nothing if the stream has ended or the item is not there yet.
  std::optional<ObjectRef> Take() const;
  bool HasEnded() const;  // and all items have been taken

 private:
  Runtime& TheRuntimeOfThis() const;

  std::uint32_t session_;
  std::shared_ptr<Stream> stream_;
  ObjectRef completion_;
};

}  // namespace ray_engine::python
