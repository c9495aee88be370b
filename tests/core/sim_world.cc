#include "tests/core/sim_world.h"

#include <algorithm>
#include <iostream>
#include <utility>

#include "engine/core/lineage.h"
#include "tests/core/sim_process.h"
#include "tests/support/recording_sender.h"

namespace ray_engine::sim {
namespace {

constexpr std::uint64_t kMaxEvents = 200'000;
constexpr Nanoseconds kTickEvery = std::chrono::milliseconds(12);

std::string Describe(const ObjectEntry& entry) {
  std::string text =
      entry.id.Hex() + " of " + ToString(entry.owner) + ", held " + std::to_string(entry.holds) + " times";
  if (entry.rare == nullptr) return text + "\n";
  for (const auto& [borrower, count] : entry.rare->borrowers) {
    text += ", by " + ToString(borrower) + " " + std::to_string(count) + " times";
  }
  return text + ", granted " + std::to_string(entry.rare->grants) + " times\n";
}

std::uint64_t Mixed(std::uint64_t hash, std::uint64_t value) {
  return (hash ^ value) * 0x9E3779B97F4A7C15ull + (hash >> 29);
}

}  // namespace

SimWorld::SimWorld(const SimOptions& options)
    : options_(options), random_(options.seed), network_(&random_, options.seed), head_(this, options.cpus) {
  for (std::size_t i = 0; i < options_.drivers; ++i) drivers_.insert(NewProcess(true));
}

SimWorld::~SimWorld() = default;

void SimWorld::Problem(const std::string& what) {
  if (problem_.empty()) problem_ = what;
}

void SimWorld::AddActor(const ObjectId& handle, const ActorId& actor, const std::vector<ObjectEntry*>& args) {
  std::vector<ObjectId> held;
  for (const ObjectEntry* arg : args) held.push_back(arg->id);
  truths_.at(handle).contained.insert(held);
  actor_by_handle_[handle] = {actor, held};
}

bool SimWorld::Reaches(const ObjectId& part, const ObjectId& object) const {
  std::set<ObjectId> seen = {part};
  std::vector<ObjectId> work = {part};
  while (!work.empty()) {
    const ObjectId next = work.back();
    work.pop_back();
    if (next == object) return true;
    const auto add = [&](const std::vector<ObjectId>& children) {
      for (const ObjectId& child : children) {
        if (seen.insert(child).second) work.push_back(child);
      }
    };
    for (const auto& contained : truths_.at(next).contained) add(contained);
    if (const auto mentioned = mentioned_.find(TaskOf(next)); mentioned != mentioned_.end()) add(mentioned->second);
  }
  return false;
}

void SimWorld::NoteAttempt(const TaskId& task, bool failed) {
  failures_[task] = failed ? failures_[task] + 1 : 0;
  if (!options_.crashes && failures_[task] > CallOptions().max_retries + 1) Problem("a task is retried without end");
}

void SimWorld::NoteGrants(const WireValue& value, ProcessId receiver, int change) {
  for (std::size_t i = 0; i < value.granted.size(); ++i) {
    if (value.granted[i] != 0) undelivered_[{value.refs[i].object, receiver}] += change;
  }
}

// ---- births and deaths ---------------------------------------------------------------------------------------------

// On one of two nodes.
ProcessId SimWorld::NewProcess(bool driver) {
  if (last_serial_ >= kMaxProcesses) return ProcessId();
  const ProcessId id{static_cast<std::uint32_t>(random_.Below(2)), ++last_serial_};
  processes_[id] = std::make_unique<SimProcess>(this, id, driver);
  return id;
}

void SimWorld::Kill(ProcessId process, const std::string& cause) {
  const auto it = processes_.find(process);
  if (it == processes_.end()) return;
  for (const std::uint32_t node : {0u, 1u}) {  // engines hear all it said before they hear of its end
    for (const Frame& frame : network_.TakeAll(process, ProcessId{node, 0})) head_.OnFrame(frame);
  }
  ended_.push_back(std::move(it->second));
  processes_.erase(it);
  MarkDead(process);
  head_.OnDeath(process, cause);
}

void SimWorld::Crash() {
  const bool actors_only = options_.actors && random_.Chance(50);  // they are few, and their ends have most to undo
  std::vector<ProcessId> victims;
  for (const auto& [id, process] : processes_) {
    if (id != *drivers_.begin() && (!actors_only || process->IsActor())) victims.push_back(id);
  }
  if (victims.empty()) return;
  const ProcessId victim = victims[random_.Below(victims.size())];
  network_.LoseTails(victim);
  Kill(victim, "it was killed");
}

bool SimWorld::EndIfIdle(ProcessId worker) {
  const auto it = processes_.find(worker);
  if (it == processes_.end() || !it->second->IsIdle()) return false;
  Kill(worker, "it was idle");
  return true;
}

// Those who hear of its end unasked: who has talked to it, and on its node (where links have two ends) whom it has
// talked to.
std::vector<ProcessId> SimWorld::LinkedTo(ProcessId process) const {
  std::vector<ProcessId> linked;
  const SimProcess& dead = *ended_.back();
  for (const auto& [id, other] : processes_) {
    if (other->HasSpokenTo(process) || (id.node == process.node && dead.HasSpokenTo(id))) linked.push_back(id);
  }
  return linked;
}

// ---- one event after the other -------------------------------------------------------------------------------------

bool SimWorld::Step() {
  if (++events_ > kMaxEvents) Problem("it does not come to rest");
  now_ += std::chrono::microseconds(10);
  if (options_.crashes && random_.PerMille(3)) Crash();
  if (options_.meddling && random_.PerMille(10)) head_.Meddle();
  if (random_.PerMille(10)) TickAll();
  if (random_.PerMille(20)) {
    for (const auto& [id, process] : processes_) process->TellBlocked();
  }
  const bool run_first = random_.Chance(30);
  if (run_first && RunSome()) return true;
  if (!network_.Empty()) return Deliver(), true;
  return RunSome() || Idle();
}

void SimWorld::Print(const Frame& frame) const {
  std::cerr << events_ << ' ' << ToString(frame.from) << " -> " << ToString(frame.to) << ' ' << NameOf(frame.type)
            << ' ';
  for (const unsigned char byte : frame.payload)
    std::cerr << "0123456789abcdef"[byte / 16] << "0123456789abcdef"[byte % 16];
  std::cerr << '\n';
}

void SimWorld::Deliver() {
  const Frame frame = network_.Next();
  trace_ = Mixed(trace_, (std::uint64_t{frame.from.serial} << 40) ^ (std::uint64_t{frame.to.serial} << 20) ^
                             static_cast<std::uint64_t>(frame.type) ^ (frame.payload.size() << 8));
  if (options_.prints) Print(frame);
  if (frame.to.IsEngine()) return head_.OnFrame(frame);
  const auto it = processes_.find(frame.to);
  it == processes_.end() ? head_.TellGone(frame.from, frame.to) : it->second->OnFrame(frame);
}

bool SimWorld::RunSome() {
  std::vector<SimProcess*> able;
  for (const auto& [id, process] : processes_) {
    if (process->CanRun()) able.push_back(process.get());
  }
  if (able.empty()) return false;
  able[random_.Below(able.size())]->RunOne();
  return true;
}

void SimWorld::TickAll() {
  now_ += kTickEvery;
  for (const auto& [id, process] : processes_) process->Tick();
}

// Nothing moves: time passes. False if that changes nothing.
bool SimWorld::Idle() {
  for (int i = 0; i < 6; ++i) {
    TickAll();
    for (const auto& [id, process] : processes_) process->TellBlocked();
    if (!network_.Empty()) return true;
  }
  head_.GiveUpOnUnknown();
  return !network_.Empty();
}

void SimWorld::RunUntilQuiet() {
  while (problem_.empty() && Step()) {
  }
}

// ---- the whole -----------------------------------------------------------------------------------------------------

std::string SimWorld::Run() {
  RunUntilQuiet();
  CheckProgress();
  budget_ = 0;
  for (const auto& [id, process] : processes_) process->ForgetState();
  RunUntilQuiet();
  CheckProgress();
  CheckEnd();
  return problem_.empty() ? problem_ : NameOfRun() + problem_;
}

void SimWorld::CheckProgress() {
  std::string pending;
  for (const auto& [id, process] : processes_) pending += process->Pending();
  if (!pending.empty()) Problem("it came to rest before it was done:\n" + pending);
}

void SimWorld::CheckEnd() {
  std::set<const ObjectEntry*> orphans;
  std::map<ProcessId, std::size_t> excused;
  FindOrphans(&orphans, &excused);
  for (const auto& [id, process] : processes_) {
    const std::size_t kept = process->ownership().Stats().entries;
    if (kept == excused[id]) continue;
    std::string others;
    for (const auto& [object, truth] : truths_) {
      const ObjectEntry* entry = process->ownership().Find(object);
      if (entry != nullptr && orphans.count(entry) == 0) others += Describe(*entry);
    }
    Problem(ToString(id) + " keeps " + std::to_string(kept) + " objects, " + std::to_string(excused[id]) +
            " of them for a reason, not so:\n" + others);
  }
  if (head_.leases() != 0) Problem("leases were not returned");
  const std::string stored = head_.DescribeStored();
  if (!stored.empty() && dead_ == 0 && !options_.cancels) Problem("stored objects were not freed:" + stored);
  CheckTruths();
}

// Every object of a living process became ready once.
void SimWorld::CheckTruths() {
  for (const auto& [object, truth] : truths_) {
    const bool once = truth.times_ready == 1 ||
                      (truth.times_ready > 1 && (dead_ != 0 || losses_ != 0));  // a freed one may come back as lost
    const bool never = truth.is_item && truth.times_ready == 0;
    if (!Lives(truth.owner) || truth.owner.IsNil() || once || never) continue;
    Problem("object " + object.Hex() + " became ready " + std::to_string(truth.times_ready) + " times");
  }
}

// A result that was lost with its worker may have carried references that their owners count already; those counts, and
// no others, stay until their borrower ends. What such objects contain stays with them; if they are handles, so does
// their actor.
void SimWorld::FindOrphans(std::set<const ObjectEntry*>* orphans, std::map<ProcessId, std::size_t>* excused) const {
  std::vector<std::pair<ProcessId, const ObjectEntry*>> work;
  const auto add = [&](ProcessId process, const ObjectEntry* entry) {
    if (entry == nullptr || !orphans->insert(entry).second) return;
    ++(*excused)[process];
    work.emplace_back(process, entry);
  };
  for (const auto& [object, truth] : truths_) {
    const ObjectEntry* entry = Find(truth.owner, object);
    if (dead_ == 0 || entry == nullptr || entry->rare == nullptr) continue;
    for (const auto& [borrower, count] : entry->rare->borrowers) {
      const auto lost = undelivered_.find({object, borrower});
      if (!Lives(borrower) || Find(borrower, object) != nullptr || lost == undelivered_.end()) continue;
      if (count <= lost->second) add(truth.owner, entry);
    }
  }
  while (!work.empty()) {
    const auto [process, entry] = work.back();
    work.pop_back();
    const auto keep = [&](const ObjectEntry* child) {
      if (child == nullptr) return;
      add(process, child);
      add(child->owner, Find(child->owner, child->id));
    };
    for (const ObjectEntry* child : entry->contained) keep(child);
    if (entry->rare != nullptr && entry->rare->lineage != nullptr) {
      for (const ObjectEntry* child : entry->rare->lineage->holds) keep(child);
      for (const ObjectEntry* child : entry->rare->lineage->parents) keep(child);
    }
    const auto actor = actor_by_handle_.find(entry->id);
    if (actor == actor_by_handle_.end() || entry->owner != process) continue;
    for (const ObjectId& arg : actor->second.second) keep(Find(process, arg));
  }
}

const ObjectEntry* SimWorld::Find(ProcessId process, const ObjectId& object) const {
  const auto it = processes_.find(process);
  return it == processes_.end() ? nullptr : it->second->ownership().Find(object);
}

std::string SimWorld::NameOfRun() const {
  return "seed " + std::to_string(options_.seed) + ", after " + std::to_string(events_) + " events: ";
}

}  // namespace ray_engine::sim
