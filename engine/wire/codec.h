// Codec: how a message becomes bytes and back.
//
// A message type lists its fields once, in `template <class A> void Fields(A& a) { a(x, y, z); }`; Writer and Reader
// walk that list. Numbers, enums and ids are copied as they lie in memory (every node of a session runs the same build
// on the same byte order: the hand-shake checks it); strings and vectors carry a 32-bit length; optional parts are
// vectors. A Reader never reads past its input: after a malformed message ok() is false and all further fields stay
// default.
//
// Thread-compatible.

#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "engine/base/ids.h"
#include "engine/base/resources.h"

namespace ray_engine {

template <class T>
inline constexpr bool kPlain = std::is_arithmetic_v<T> || std::is_enum_v<T>;
template <>
inline constexpr bool kPlain<ProcessId> = true;
template <std::size_t kBytes, class Tag>
inline constexpr bool kPlain<Id<kBytes, Tag>> = true;

class Writer {
 public:
  explicit Writer(std::string* out) : out_(out) {}

  template <class... T>
  void operator()(const T&... fields) {
    (Put(fields), ...);
  }
  void Raw(const void* data, std::size_t size) { out_->append(static_cast<const char*>(data), size); }

 private:
  template <class T>
  void Put(const T& field) {
    if constexpr (kPlain<T>) {
      Raw(&field, sizeof field);
    } else {
      const_cast<T&>(field).Fields(*this);  // Fields() serves both directions, so it cannot be const
    }
  }
  void Put(std::string_view text) {
    Put(static_cast<std::uint32_t>(text.size()));
    Raw(text.data(), text.size());
  }
  void Put(const std::string& text) { Put(std::string_view(text)); }
  void Put(const ResourceSet& set) {
    Put(static_cast<std::uint32_t>(set.size()));
    set.ForEach([this](std::string_view name, ResourceSet::Amount amount) { (*this)(name, amount); });
  }
  template <class T>
  void Put(const std::shared_ptr<const T>& shared) {
    shared == nullptr ? Put(T()) : Put(*shared);
  }
  template <class A, class B>
  void Put(const std::pair<A, B>& pair) {
    (*this)(pair.first, pair.second);
  }
  template <class T>
  void Put(const std::vector<T>& items) {
    Put(static_cast<std::uint32_t>(items.size()));
    if constexpr (kPlain<T>) {
      Raw(items.data(), items.size() * sizeof(T));
    } else {
      for (const T& item : items) Put(item);
    }
  }

  std::string* out_;
};

class Reader {
 public:
  explicit Reader(std::string_view in) : in_(in) {}

  template <class... T>
  void operator()(T&... fields) {
    (Get(fields), ...);
  }
  bool ok() const { return ok_; }
  std::string_view rest() const { return in_; }
  // The next `size` bytes, in place; empty after a malformed message.
  std::string_view Take(std::size_t size) {
    if (size > in_.size()) {
      ok_ = false;
      in_ = {};
      return {};
    }
    const std::string_view taken = in_.substr(0, size);
    in_.remove_prefix(size);
    return taken;
  }

 private:
  template <class T>
  void Get(T& field) {
    if constexpr (kPlain<T>) {
      const std::string_view bytes = Take(sizeof field);
      if (ok_) std::memcpy(static_cast<void*>(&field), bytes.data(), sizeof field);
    } else {
      field.Fields(*this);
    }
  }
  void Get(std::string& text) {
    std::uint32_t size = 0;
    Get(size);
    text.assign(Take(size));
  }
  void Get(ResourceSet& set) {
    std::uint32_t count = 0;
    Get(count);
    set = ResourceSet();
    ResourceSet::Entry entry;
    for (std::uint32_t i = 0; i < count && ok_; ++i) {
      Get(entry);
      set.Set(entry.first, entry.second);
    }
  }
  template <class T>
  void Get(std::shared_ptr<const T>& shared) {
    const auto read = std::make_shared<T>();
    Get(*read);
    shared = read;
  }
  template <class A, class B>
  void Get(std::pair<A, B>& pair) {
    (*this)(pair.first, pair.second);
  }
  template <class T>
  void Get(std::vector<T>& items) {
    std::uint32_t count = 0;
    Get(count);
    items.clear();
    if (count == 0) return;
    if constexpr (kPlain<T>) {
      const std::string_view bytes = Take(std::size_t{count} * sizeof(T));
      if (!ok_) return;
      items.resize(count);
      std::memcpy(static_cast<void*>(items.data()), bytes.data(), bytes.size());
    } else {
      for (std::uint32_t i = 0; i < count && ok_; ++i) Get(items.emplace_back());
    }
  }

  std::string_view in_;
  bool ok_ = true;
};

template <class Message>
std::string Encode(const Message& message) {
  std::string bytes;
  Writer writer(&bytes);
  writer(message);
  return bytes;
}

template <class Message>
bool Decode(std::string_view bytes, Message* message) {
  Reader reader(bytes);
  reader(*message);
  return reader.ok();
}

}  // namespace ray_engine
