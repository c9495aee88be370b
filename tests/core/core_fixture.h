// CoreFixture: the state machines of one process with a recording sender, for the tests of those above Ownership.

#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/core/ownership.h"
#include "engine/core/task_table.h"
#include "gtest/gtest.h"
#include "tests/support/recording_sender.h"
#include "tests/support/task_builder.h"

namespace ray_engine {

class CoreFixture : public ::testing::Test, protected Ownership::Listener {
 protected:
  static constexpr ProcessId kSelf{0, 1};
  static constexpr ProcessId kEngine{0, 0};

  CoreFixture() : sender_(kSelf), ownership_(&sender_, this), tasks_(&ownership_), builder_(&ownership_, &tasks_) {}
  void TearDown() override {
    EXPECT_EQ(tasks_.size(), 0u);
    for (ObjectEntry* entry : results_) ownership_.Drop(entry);
    EXPECT_EQ(ownership_.Stats().entries, 0u);
    EXPECT_EQ(sender_.Left(), "");
  }

  static TaskId Task(std::uint64_t number) { return NumberedId<TaskId>(number); }
  // The record of a task; its results are dropped at the end of the test.
  TaskRecord* Build(std::uint64_t number, CallOptions* options) {
    return builder_.Build(Task(number), options, &results_);
  }
  ObjectEntry* Result(std::uint64_t number, std::uint32_t index = 1) const {
    for (ObjectEntry* entry : results_) {
      if (entry->id == ReturnObjectId(Task(number), index)) return entry;
    }
    return nullptr;
  }
  ObjectEntry* Pending(std::uint64_t number) {
    ObjectEntry* entry = ownership_.NewOwned(NumberedId<ObjectId>(number));
    results_.push_back(entry);
    return entry;
  }
  // What the engine says went wrong, also of what failed for that.
  static std::string KindOf(const ObjectEntry* entry) {
    if (!entry->is_error) return "";
    const SystemErrorParts parts = PartsOf(entry->bytes, entry->id);
    return std::string(parts.kind == "RayTaskError" ? PartsOf(parts.detail, entry->id).kind : parts.kind);
  }
  static WireValue UserError() {
    WireValue value = InlineValue("Perror");
    value.is_error = true;
    return value;
  }

  void OnObjectReady(ObjectEntry*) override {}
  void OnObjectFreed(const ObjectId&) override {}

  RecordingSender sender_;
  Ownership ownership_;
  TaskTable tasks_;
  TaskBuilder builder_;
  std::vector<ObjectEntry*> results_;
};

// What of a pushed task its owner's record is known by.
inline TaskHeader HeaderOf(std::string_view payload) {
  TaskView view;
  EXPECT_TRUE(ParseTask(payload, &view));
  return view.header;
}

}  // namespace ray_engine
