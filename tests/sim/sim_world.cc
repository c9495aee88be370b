#include "tests/sim/sim_world.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <csignal>
#include <iostream>
#include <utility>

#include "engine/core/lineage.h"
#include "tests/sim/sim_process.h"
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

// What comes again and again while nothing happens: heartbeats, and the question whether a worker is still needed.
bool IsRoutine(MessageType type) {
  return type == MessageType::kHeartbeat || type == MessageType::kShutdown || type == MessageType::kReady;
}

std::uint64_t Mixed(std::uint64_t hash, std::uint64_t value) {
  return (hash ^ value) * 0x9E3779B97F4A7C15ull + (hash >> 29);
}

}  // namespace

SimWorld::SimWorld(const SimOptions& options)
    : options_(options), random_(options.seed), network_(&random_, options.seed) {
  spdlog::set_level(spdlog::level::off);  // engines tell people of every loss
  for (std::uint32_t i = 0; i < options_.nodes; ++i) {
    nodes_.push_back(std::make_unique<SimNode>(this, i, static_cast<std::uint32_t>(options_.cpus)));
  }
  for (const auto& node : nodes_) node->Begin();
  for (std::size_t i = 0; i < options_.drivers; ++i) {
    NewDriver(i == 0 ? 0 : static_cast<std::uint32_t>(random_.Below(options_.nodes)));
  }
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

void SimWorld::NoteLife(const StartActor& start, ProcessId worker) {
  const ActorSpec& spec = start.spec;
  if (spec.max_restarts >= 0 && start.incarnation > static_cast<std::uint32_t>(spec.max_restarts)) {
    Problem("actor " + spec.actor.Hex() + " is started more often than it may be");
  }
  const Life life{worker, start.lease, spec.creator};
  if (!GoesOn(life)) return;  // the next one may have begun already
  const auto before = lives_.find(spec.actor);
  if (before != lives_.end() && GoesOn(before->second)) Problem("actor " + spec.actor.Hex() + " lives twice");
  lives_[spec.actor] = life;
}

bool SimWorld::GoesOn(const Life& life) const {
  return Lives(life.worker) && !IsDoomed(life.worker) && killed_.count(life.lease) == 0;
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

SimNode* SimWorld::FindNode(std::uint32_t index) {
  return ended_nodes_.count(index) != 0 ? nullptr : nodes_.at(index).get();
}

// Heartbeats cost events, so there are none where they decide nothing.
Heartbeats::Pace SimWorld::pace() const {
  if (!options_.node_ends) return {std::chrono::hours(1), std::chrono::hours(5)};
  return {std::chrono::milliseconds(500), std::chrono::milliseconds(2000)};
}

Mask SimWorld::BitOf(ProcessId process) const {
  Mask mask;
  const auto number = numbers_.find(process);
  if (number != numbers_.end()) mask.set(number->second);
  return mask;
}

void SimWorld::NewProcess(ProcessId id, const JobId& job) {
  const std::size_t number = numbers_.size();
  numbers_[id] = number;
  processes_[id] = std::make_unique<SimProcess>(this, id, job);
  processes_[id]->Flush();
}

void SimWorld::NewWorker(ProcessId worker, const JobId& job) {
  NewProcess(worker, job);
  if (ended_jobs_.count(job) != 0 || fenced_.count(worker.node) != 0) MarkDead(worker);
}

void SimWorld::NewDriver(std::uint32_t node) {
  const ProcessId driver = nodes_[node]->AdmitDriver();
  drivers_.insert(driver);
  NewProcess(driver, JobId());
  processes_.at(driver)->BeDriver();
  processes_.at(driver)->Flush();
}

void SimWorld::End(ProcessId process, int status) {
  const auto it = processes_.find(process);
  if (it == processes_.end()) return;
  it->second->Flush();
  if (drivers_.count(process) != 0) NoteJobEnded(it->second->job());
  if (status != 0) network_.LoseTails(process);
  casualties_ |= status != 0 || it->second->IsActor();  // what it leaves behind may have to be made again
  ended_.push_back(std::move(it->second));
  processes_.erase(it);
  MarkDead(process);
  SimNode* node = FindNode(process.node);
  const bool is_driver = drivers_.count(process) != 0;
  network_.Send({node->id(), node->id(), Queue::kForkserver}, {{},
                                                               [node, process, status, is_driver] {
                                                                 is_driver ? node->OnDriverGone(process)
                                                                           : node->OnExited(process, status);
                                                               },
                                                               {}});
}

void SimWorld::Crash() {
  const bool actors_only = options_.actors && random_.Chance(50);  // they are few, and their ends have most to undo
  std::vector<ProcessId> victims;
  for (const auto& [id, process] : processes_) {
    if (id != *drivers_.begin() && (!actors_only || process->IsActor())) victims.push_back(id);
  }
  if (!victims.empty()) End(victims[random_.Below(victims.size())], SIGKILL);
}

void SimWorld::EndNode(std::uint32_t node, const std::string& reason) {
  if (FindNode(node) == nullptr) return;
  NoteFenced(node);
  ended_nodes_.insert(node);
  nodes_[node]->loop().Clear();
  network_.LetGo(node);
  network_.LoseNode(node);
  for (auto it = processes_.begin(); it != processes_.end();) {
    if (it->first.node == node && drivers_.count(it->first) != 0) NoteJobEnded(it->second->job());
    if (it->first.node == node) ended_.push_back(std::move(it->second));
    it = it->first.node == node ? processes_.erase(it) : std::next(it);
  }
  const bool silently = random_.Chance(30);  // as when a cable is cut: only heartbeats tell
  for (const auto& other : nodes_) {
    if (silently || FindNode(other->index()) == nullptr) continue;
    network_.Send({{node, 0}, other->id(), Queue::kFrames},
                  {{}, [&other, node, reason] { other->OnPeerLost(node, reason); }, {}});
  }
}

// What its workers still want they need not get, nor do those that are born before its end is known.
void SimWorld::NoteJobEnded(const JobId& job) {
  ended_jobs_.insert(job);
  for (const auto& [id, process] : processes_) {
    if (process != nullptr && process->job() == job) MarkDead(id);
  }
}

void SimWorld::NoteFenced(std::uint32_t node) {
  fenced_.insert(node);
  NoteDoubted(node);
}

void SimWorld::NoteDoubted(std::uint32_t node) {
  casualties_ = true;
  for (const auto& [id, process] : processes_) {
    if (id.node == node) MarkDead(id);
  }
}

void SimWorld::NoteOrder(const Frame& frame) {
  KillWorker kill;
  if (frame.type == MessageType::kKillWorker && Decode(frame.payload, &kill)) killed_.insert(kill.lease);
  Shutdown shutdown;
  if (frame.type == MessageType::kActorKill) MarkDead(frame.to);
  if (frame.type == MessageType::kShutdown && Decode(frame.payload, &shutdown) && shutdown.reason != "idle") {
    MarkDead(frame.to);
  }
}

// A node but the head's crashes, is held up for some time, or is given up by another one.
void SimWorld::EndSomeNode() {
  std::vector<std::uint32_t> living;
  for (std::uint32_t node = 1; node < nodes_.size(); ++node) {
    if (FindNode(node) != nullptr) living.push_back(node);
  }
  if (living.empty()) return;
  const std::uint32_t node = living[random_.Below(living.size())];
  switch (random_.Below(4)) {
    case 0:
      return EndNode(node, "it has crashed");
    case 1:
      return network_.HoldUp(node);
    case 2:
      return network_.LetGo(node);
    default: {
      const std::uint32_t accuser = static_cast<std::uint32_t>(random_.Below(nodes_.size()));
      if (accuser == node || FindNode(accuser) == nullptr) return;
      NoteDoubted(node);
      if (accuser != 0) NoteDoubted(accuser);  // of two that cannot reach each other the head hears one first
      nodes_[accuser]->OnPeerLost(node, "it cannot be reached");
      nodes_[accuser]->Poll();
    }
  }
}

void SimWorld::Vanish(std::uint32_t node, const ObjectId& object) {
  SimNode* place = FindNode(node);
  if (place != nullptr)
    place->OnFrame(place->id(), {place->id(), place->id(), StoreFree::kType, Encode(StoreFree{{object}})});
}

// The head may ask for a lease back at any time.
void SimWorld::Meddle() {
  std::vector<ProcessId> clients;
  for (const auto& [id, process] : processes_) {
    if (process->SomeLease() != LeaseId::kNone) clients.push_back(id);
  }
  if (clients.empty()) return;
  const ProcessId client = clients[random_.Below(clients.size())];
  const LeaseReclaim reclaim{processes_.at(client)->SomeLease()};
  FrameHeader header;
  header.type = LeaseReclaim::kType;
  header.from = kHead;
  header.to = client;
  client.node == kHead.node ? nodes_[0]->ToProcess(client.serial, header, Encode(reclaim))
                            : nodes_[0]->ToNode(client.node, header, Encode(reclaim));
}

// ---- one event after the other -------------------------------------------------------------------------------------

bool SimWorld::Step() {
  if (++events_ > kMaxEvents) Problem("it does not come to rest");
  now_ += std::chrono::microseconds(10);
  if (options_.crashes && random_.PerMille(3)) Crash();
  if (options_.node_ends && !ending_ && random_.PerMille(2)) EndSomeNode();
  if (options_.meddling && random_.PerMille(10)) Meddle();
  if (random_.PerMille(10)) TickAll();
  if (random_.PerMille(20)) {
    for (const auto& [id, process] : processes_) process->TellBlocked();
    FlushAll();
  }
  RunTimers();
  const bool run_first = random_.Chance(30);
  if (run_first && RunSome()) return true;
  if (network_.CanMove()) return Deliver(), true;
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
  auto [queue, item] = network_.Next();
  const Frame& frame = item.frame;
  if (!IsRoutine(frame.type)) moved_at_ = now_;
  trace_ = Mixed(trace_, (std::uint64_t{frame.from.serial} << 40) ^ (std::uint64_t{frame.to.serial} << 20) ^
                             (std::uint64_t{queue.to.node} << 56) ^ static_cast<std::uint64_t>(frame.type) ^
                             (frame.payload.size() << 8));
  if (options_.prints) Print(frame);
  if (item.event) {
    item.event();
  } else if (!queue.to.IsEngine()) {
    const auto it = processes_.find(queue.to);
    SimProcess* process = it == processes_.end() ? nullptr : it->second.get();  // it may end by this
    if (process != nullptr) process->OnFrame(queue.from, frame), process->Flush();
  } else if (SimNode* node = FindNode(queue.to.node)) {
    node->OnFrame(queue.from, frame);
  }
  for (const auto& node : nodes_) {
    if (FindNode(node->index()) != nullptr) node->Poll();
  }
}

bool SimWorld::RunSome() {
  std::vector<SimProcess*> able;
  for (const auto& [id, process] : processes_) {
    if (process->CanRun()) able.push_back(process.get());
  }
  if (able.empty()) return false;
  moved_at_ = now_;
  SimProcess* process = able[random_.Below(able.size())];
  process->RunOne();
  process->Flush();
  return true;
}

void SimWorld::TickAll() {
  now_ += kTickEvery;
  Tick();
}

void SimWorld::Tick() {
  std::vector<ProcessId> late;
  for (const auto& [id, process] : processes_) {
    process->Tick();
    if (process->IsLate()) late.push_back(id);
  }
  FlushAll();
  for (const ProcessId process : late) End(process, 256);
}

void SimWorld::FlushAll() {
  for (const auto& [id, process] : processes_) process->Flush();
}

void SimWorld::RunTimers() {
  for (const auto& node : nodes_) {
    if (FindNode(node->index()) == nullptr || node->loop().NextDue() > now_) continue;
    node->loop().RunDue();
    node->Poll();
  }
}

// Nothing moves: time passes. False if that changes nothing any more.
bool SimWorld::Idle() {
  if (now_ - moved_at_ > kPatience) {
    if (network_.held_up().empty()) return false;
    network_.LetGo(*network_.held_up().begin());
  }
  for (const auto& [id, process] : processes_) process->TellBlocked();
  FlushAll();
  const auto needs_tick = [](const auto& process) { return process.second->NeedsTick(); };
  Nanoseconds next = now_ + (std::any_of(processes_.begin(), processes_.end(), needs_tick) ? kTickEvery : kPatience);
  for (const auto& node : nodes_) {
    if (FindNode(node->index()) != nullptr) next = std::min(next, node->loop().NextDue());
  }
  now_ = std::max(now_, next);
  Tick();
  if (!network_.held_up().empty() && random_.Chance(20)) network_.LetGo(*network_.held_up().begin());
  RunTimers();
  return true;
}

void SimWorld::RunUntilQuiet() {
  moved_at_ = now_;
  while (problem_.empty() && Step()) {
  }
}

// ---- the whole -----------------------------------------------------------------------------------------------------

std::string SimWorld::Run() {
  RunUntilQuiet();
  CheckProgress();
  ending_ = true;
  budget_ = 0;
  while (!network_.held_up().empty()) network_.LetGo(*network_.held_up().begin());
  for (const auto& [id, process] : processes_) process->ForgetState();
  FlushAll();
  RunUntilQuiet();
  CheckProgress();
  CheckEnd();
  return problem_.empty() ? problem_ : NameOfRun() + problem_;
}

void SimWorld::CheckProgress() {
  std::string pending;
  for (const auto& [id, process] : processes_) {
    if (!IsDoomed(id)) pending += process->Pending();
  }
  if (!pending.empty()) Problem("it came to rest before it was done:\n" + pending);
}

void SimWorld::CheckEnd() {
  std::set<const ObjectEntry*> orphans;
  std::map<ProcessId, std::size_t> excused;
  FindOrphans(&orphans, &excused);
  for (const auto& [id, process] : processes_) {
    const std::size_t kept = process->ownership().Stats().entries;
    if (kept == excused[id] || IsDoomed(id)) continue;
    std::string others;
    process->ownership().ForEach([&](const ObjectEntry* entry) {
      if (orphans.count(entry) == 0) others += Describe(*entry);
    });
    Problem(ToString(id) + " keeps " + std::to_string(kept) + " objects, " + std::to_string(excused[id]) +
            " of them for a reason, not so:\n" + others);
  }
  for (const auto& node : nodes_) {
    if (FindNode(node->index()) != nullptr) CheckNode(node.get());
  }
  for (const auto& [actor, life] : lives_) {
    if (GoesOn(life) && !Lives(life.creator)) Problem("actor " + actor.Hex() + " outlives its owner");
  }
  CheckStores();
  CheckTruths();
}

// The engine has nothing left to do. Where processes have died, grants that were lost with them may keep an actor.
void SimWorld::CheckNode(SimNode* node) {
  const std::size_t kept = casualties_ ? nodes_[0]->node().head()->actors().Stats().alive : 0;
  const auto expect_none = [&](const char* what, std::size_t count) {
    if (count > 0) Problem("node " + std::to_string(node->index()) + " has " + std::to_string(count) + " " + what);
  };
  const auto expect_sound = [&](const std::string& what) {
    if (!what.empty()) Problem("node " + std::to_string(node->index()) + ": " + what);
  };
  const StoreService& objects = node->node().objects();
  expect_sound(objects.store().CheckInvariants());
  expect_sound(objects.pulls().CheckInvariants());
  expect_none("pulls under way", objects.pulls().pulls());
  expect_none("objects on their way to other nodes", objects.server().transfers() + objects.server().chains());
  expect_none("objects pinned", objects.store().Stats().pinned_objects);
  expect_none("objects unsealed", objects.store().Stats().unsealed);
  expect_none("clients with room reserved", objects.store().Reservers().size());
  const WorkerPool::Statistics workers = node->node().workers().Stats();
  expect_none("workers leased", workers.leased > kept ? workers.leased : 0);
  expect_none("workers starting", workers.starting);
  expect_none("leases that wait for a worker", workers.waiting);
  const HeadService* head = node->node().head();
  if (head == nullptr) return;
  expect_sound(head->scheduler().CheckInvariants());
  expect_sound(head->actors().CheckInvariants());
  const std::size_t leases = head->scheduler().Stats().leases;
  expect_none("leases", leases > kept ? leases : 0);
  expect_none("leases wanted", head->scheduler().Stats().waiting_leases);
  const ActorDirectory::Statistics actors = head->actors().Stats();
  expect_none("actors to be placed", actors.pending + actors.restarting);
  expect_none("watches of actors that nobody has created", actors.unknown);
}

// News of a loss may be older than a copy that has come to that node since, which its owner then does not know: a known
// hole (docs/design.md, "The next steps").
void SimWorld::CheckStores() {
  if (casualties_ || options_.cancels) return;
  for (const auto& node : nodes_) {
    for (const auto& [object, truth] : truths_) {
      if (!node->node().objects().store().Knows(object) || lost_.count(object) != 0) continue;
      Problem("object " + object.Hex() + " of " + ToString(truth.owner) + " was not freed at node " +
              std::to_string(node->index()));
    }
  }
}

// Every object of a living process became ready once; one that has been told to end, or whose job has ended, need not
// get what it still wants.
void SimWorld::CheckTruths() {
  for (const auto& [object, truth] : truths_) {
    const bool once = truth.times_ready == 1 ||
                      (truth.times_ready > 1 && (casualties_ || !lost_.empty()));  // a freed one may come back as lost
    const bool never = truth.is_item && truth.times_ready == 0;
    if (!Lives(truth.owner) || IsDoomed(truth.owner) || once || never) continue;
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
    if (!casualties_ || entry == nullptr || entry->rare == nullptr) continue;
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
  if (it == processes_.end()) return nullptr;
  const ObjectEntry* found = nullptr;  // Ownership::Find() knows only those that somebody else has heard of
  it->second->ownership().ForEach([&](const ObjectEntry* entry) {
    if (entry->id == object) found = entry;
  });
  return found;
}

std::string SimWorld::NameOfRun() const {
  return "seed " + std::to_string(options_.seed) + ", after " + std::to_string(events_) + " events: ";
}

}  // namespace ray_engine::sim
