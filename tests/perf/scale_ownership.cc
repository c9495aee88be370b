// How the work of an owner grows with nodes and with what it has: what one process does per second of CPU time, in one
// thread and without a cluster.
//
//   scale_ownership tasks NODES PENDING     tasks that end, each followed by a push and a submission; a worker on each
//                                           node, and PENDING tasks that wait for one
//   scale_ownership borrows NODES PENDING   references that a borrower registers and gives back; a borrower on each
//   node,
//                                           of PENDING objects
//
// Prints one line RESULT {"per_s": ..., "messages": ...}, messages being those that the owner sends for each.

#include <absl/container/flat_hash_map.h>
#include <fmt/format.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/core/ownership.h"
#include "engine/core/task_submitter.h"
#include "engine/core/task_table.h"
#include "tests/perf/scale_rate.h"
#include "tests/support/task_builder.h"

namespace ray_engine {
namespace {

constexpr Nanoseconds kNow = std::chrono::seconds(1);
constexpr std::int64_t kTaskNs = 10'000'000;  // so long that one is pushed to a worker at a time

// Counts what is sent; keeps the headers of tasks that were pushed.
class CountingSender : public Sender {
 public:
  Channel* To(ProcessId peer) override {
    auto& channel = channels_[peer];
    if (channel == nullptr) channel = std::make_unique<CountingChannel>(this, peer);
    return channel.get();
  }
  ProcessId self() const override { return {0, 1}; }

  std::uint64_t sent = 0;
  std::vector<TaskHeader> running;

 private:
  struct CountingChannel : Channel {
    CountingChannel(CountingSender* sender, ProcessId peer) : Channel(peer), sender(sender) {}
    void Send(MessageType type, std::string_view payload, bool) override {
      ++sender->sent;
      if (type != MessageType::kPushTask) return;
      std::memcpy(&sender->running.emplace_back(), payload.data(), sizeof(TaskHeader));
    }
    CountingSender* sender;
  };

  absl::flat_hash_map<ProcessId, std::unique_ptr<CountingChannel>> channels_;
};

class Owner : private Ownership::Listener {
 public:
  CountingSender sender;
  Ownership ownership{&sender, this};

 private:
  void OnObjectReady(ObjectEntry*) override {}
  void OnObjectFreed(const ObjectId&) override {}
};

class Tasks {
 public:
  Tasks(std::uint32_t nodes, std::uint32_t pending) : builder_(&owner_.ownership, &tasks_, "function") {
    options_.name = "function";
    options_.mean_ns = kTaskNs;
    for (std::uint32_t i = 0; i < pending + nodes; ++i) Submit();
    for (std::uint32_t i = 0; i < nodes; ++i) submitter_.On(LeaseGrant{LeaseId{i + 1}, 0, {i, 2}, NodeId()}, kNow);
  }
  std::uint64_t sent() const { return owner_.sender.sent; }

  // A random one of those that run. Nobody holds its result.
  void EndOne() {
    std::vector<TaskHeader>& running = owner_.sender.running;
    std::swap(running[random_() % running.size()], running.back());
    const TaskHeader ended = running.back();
    running.pop_back();
    DoneHeader done, read;
    done.slot = ended.slot;
    done.attempt = ended.attempt;
    done.ran = {0, kTaskNs};
    std::vector<WireValue> values;
    TaskRecord* record = tasks_.ReadDone(DonePayload(done, {InlineValue("ok")}), &read, &values);
    submitter_.OnDone(record, read, std::move(values), kNow);
    Submit();
  }

 private:
  void Submit() {
    submitter_.Submit(builder_.Build(NumberedId<TaskId>(++last_), &options_));
    submitter_.FlushDemands();
  }

  Owner owner_;
  TaskTable tasks_{&owner_.ownership};
  TaskSubmitter submitter_{&owner_.sender, &tasks_};
  TaskBuilder builder_;
  CallOptions options_;
  std::uint64_t last_ = 0;
  std::mt19937 random_{1};
};

class Borrows {
 public:
  Borrows(std::uint32_t nodes, std::uint32_t pending) : nodes_(nodes) {
    for (std::uint32_t i = 0; i < pending; ++i) {
      ObjectEntry* entry = owner_.ownership.NewOwned(NumberedId<ObjectId>(i));
      owner_.ownership.Export(entry);  // so that it can be found by its id
      owner_.ownership.SetLocalValue(entry, InlineValue("value"), {});
      objects_.push_back(entry->id);
      owner_.ownership.On(BorrowerOn(i % nodes), BorrowAdd{{entry->id}, BorrowerOn(i % nodes), 0});
    }
  }
  std::uint64_t sent() const { return owner_.sender.sent; }

  void AddAndGiveBack() {
    const ObjectId& object = objects_[random_() % objects_.size()];
    const ProcessId borrower = BorrowerOn(random_() % nodes_);
    owner_.ownership.On(borrower, BorrowAdd{{object}, borrower, 1});
    owner_.ownership.On(borrower, BorrowRemove{{object}, {1}});
  }

 private:
  static ProcessId BorrowerOn(std::uint32_t node) { return {node, 2}; }

  Owner owner_;
  const std::uint32_t nodes_;
  std::vector<ObjectId> objects_;
  std::mt19937 random_{1};
};

template <class World, class Step>
void Measure(World world, Step step) {
  std::uint64_t steps = 0;
  const std::uint64_t before = world->sent();
  const double rate = Rate([&] { step(world.get()), ++steps; });
  const double messages = static_cast<double>(world->sent() - before) / static_cast<double>(steps);
  fmt::print("RESULT {{\"per_s\": {:.0f}, \"messages\": {:.3f}}}\n", rate, messages);
}

}  // namespace
}  // namespace ray_engine

int main(int argc, char** argv) {
  const std::string what = argc == 4 ? argv[1] : "";
  if (what != "tasks" && what != "borrows") {
    fmt::print(stderr, "usage: scale_ownership tasks|borrows NODES PENDING\n");
    return 2;
  }
  const auto number = [](const char* text) { return static_cast<std::uint32_t>(std::strtoul(text, nullptr, 10)); };
  const std::uint32_t nodes = number(argv[2]), pending = number(argv[3]);
  if (what == "tasks") {
    ray_engine::Measure(std::make_unique<ray_engine::Tasks>(nodes, pending), [](auto* world) { world->EndOne(); });
  } else {
    ray_engine::Measure(std::make_unique<ray_engine::Borrows>(nodes, pending),
                        [](auto* world) { world->AddAndGiveBack(); });
  }
  std::fflush(stdout);
  std::_Exit(0);  // what is left is not worth freeing
}
