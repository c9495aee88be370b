// TaskBuilder: the records of tasks with arguments, made the way the runtime makes them.
//
// Thread-compatible.

#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/core/task_table.h"

namespace ray_engine {

class TaskBuilder {
 public:
  TaskBuilder(Ownership* ownership, TaskTable* tasks, std::string_view name = "")
      : ownership_(ownership), tasks_(tasks), name_(name) {
    Begin();
  }

  // A value with references inside.
  TaskBuilder& Value(std::string_view bytes, const std::vector<ObjectEntry*>& refs = {}) {
    ArgHeader header;
    header.ref_count = static_cast<std::uint32_t>(refs.size());
    header.size = bytes.size();
    AppendPlain(&payload_, header);
    Writer writer(&payload_);
    for (ObjectEntry* ref : refs) {
      writer(ownership_->Export(ref));
      Hold(ref);
    }
    payload_.append(bytes);
    ++header_.arg_count;
    return *this;
  }
  // A reference whose value the task gets.
  TaskBuilder& Ref(ObjectEntry* entry) {
    ArgHeader header;
    header.kind = ArgHeader::kUnresolved;
    unresolved_.emplace_back(payload_.size(), entry);
    AppendPlain(&payload_, header);
    Hold(entry);
    ++header_.arg_count;
    return *this;
  }
  // Holds more for the life of the task (an actor's handle).
  TaskBuilder& Hold(ObjectEntry* entry) {
    ownership_->Hold(entry);
    holds_.push_back(entry);
    return *this;
  }

  // The record; its return objects are held once more for the caller. The builder starts anew.
  TaskRecord* Build(const TaskId& id, CallOptions* options, std::vector<ObjectEntry*>* returns = nullptr) {
    TaskRecord* record = tasks_->New(id, options);
    header_.task = id;
    header_.function = options->function;
    header_.slot = record->slot;
    header_.num_returns = options->num_returns;
    header_.kind = options->kind;
    header_.yields = options->yields;
    header_.stream_limit = options->stream_limit;
    std::memcpy(payload_.data(), &header_, sizeof header_);
    record->payload = std::move(payload_);
    record->holds = std::move(holds_);
    if (!unresolved_.empty()) record->Extra().unresolved = std::move(unresolved_);
    for (ObjectEntry* entry : record->returns) {
      if (returns == nullptr) continue;
      ownership_->Hold(entry);
      returns->push_back(entry);
    }
    Begin();
    return record;
  }

 private:
  void Begin() {
    header_ = TaskHeader();
    payload_.assign(sizeof(TaskHeader), '\0');
    payload_.push_back(static_cast<char>(name_.size()));
    payload_.append(name_);
    holds_.clear();
    unresolved_.clear();
  }

  Ownership* ownership_;
  TaskTable* tasks_;
  std::string name_;
  TaskHeader header_;
  std::string payload_;
  std::vector<ObjectEntry*> holds_;
  std::vector<std::pair<std::size_t, ObjectEntry*>> unresolved_;
};

// TaskDone as a worker sends it.
inline std::string DonePayload(DoneHeader done, const std::vector<WireValue>& values) {
  done.num_returns = static_cast<std::uint16_t>(values.size());
  std::string payload;
  AppendPlain(&payload, done);
  Writer writer(&payload);
  for (const WireValue& value : values) writer(value);
  return payload;
}

inline WireValue InlineValue(std::string_view bytes) {
  WireValue value;
  value.bytes = std::string(bytes);
  return value;
}

// A value that lies in the store of that node.
inline WireValue StoredAt(std::uint32_t node) {
  WireValue value;
  value.kind = WireValue::kStored;
  value.node = node;
  value.size = 200'000;
  return value;
}

// Ids for tests: a number in the first bytes.
template <class Id>
Id NumberedId(std::uint64_t number) {
  Id id;
  std::memcpy(id.data(), &number, sizeof number);
  return id;
}

}  // namespace ray_engine
