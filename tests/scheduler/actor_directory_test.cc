// Actors from creation to death, as the head sees them.

#include "scheduler/actor_directory.h"

#include <chrono>
#include <string>
#include <variant>
#include <vector>

#include "gtest/gtest.h"
#include "tests/scheduler/scheduler_fixture.h"

namespace ray_engine {
namespace {

class ActorDirectoryTest : public ::testing::Test {
 protected:
  using Directory = ActorDirectory;

  void TearDown() override {
    EXPECT_TRUE(actions_.empty()) << actions_.size() << " actions nobody expected";
    EXPECT_EQ(directory_.CheckInvariants(), "");
  }

  void Do(Directory::Actions actions) {
    EXPECT_EQ(directory_.CheckInvariants(), "");
    for (Directory::Action& action : actions) actions_.push_back(std::move(action));
  }
  void Create(const ActorSpec& spec, std::uint64_t token = 0) { Do(directory_.OnCreate({token, spec}, spec.creator)); }
  void Watch(ProcessId client, int actor) { Do(directory_.OnWatch(client, {ActorIdOf(actor)}, now_)); }

  // The next action, which must be of this kind.
  template <class Kind>
  Kind Next() {
    if (actions_.empty() || !std::holds_alternative<Kind>(actions_.front())) {
      ADD_FAILURE() << "the next action is another, or there is none";
      return Kind{};
    }
    Kind kind = std::get<Kind>(std::move(actions_.front()));
    actions_.erase(actions_.begin());
    return kind;
  }
  // The next action, which must send this type of message to that process.
  template <class Message>
  Message NextSent(ProcessId to) {
    const auto send = Next<Directory::Send>();
    EXPECT_EQ(send.to, to);
    if (const auto* message = std::get_if<Message>(&send.message)) return *message;
    ADD_FAILURE() << "another message was sent";
    return Message{};
  }
  void ExpectUpdate(ProcessId to, ActorState state, std::uint32_t incarnation, const std::string& cause = "") {
    const auto update = NextSent<ActorUpdate>(to);
    EXPECT_EQ(update.state, state);
    EXPECT_EQ(update.incarnation, incarnation);
    EXPECT_EQ(update.cause, cause);
  }
  LeaseGrant GrantFor(std::uint32_t key, ProcessId worker) {
    return {LeaseId{100 + key}, key, worker, NodeIdOf(worker.node)};
  }
  // Takes the Place, grants it and takes the StartActor.
  StartActor PlaceOn(ProcessId worker) {
    const auto place = Next<Directory::Place>();
    EXPECT_EQ(place.demand.count, 1u);
    Do(directory_.OnPlaced(GrantFor(place.demand.key, worker)));
    return NextSent<StartActor>(worker);
  }
  // From a Place to a living actor.
  void Start(int actor, ProcessId worker) {
    const StartActor start = PlaceOn(worker);
    EXPECT_EQ(start.spec.actor, ActorIdOf(actor));
    Do(directory_.OnReady({ActorIdOf(actor), start.incarnation, ""}));
    EXPECT_EQ(Next<Directory::Hold>().lease, start.lease);
  }
  void CreateAlive(const ActorSpec& spec, int actor, ProcessId worker) {
    Create(spec);
    Start(actor, worker);
  }

  ActorDirectory directory_;
  std::chrono::nanoseconds now_ = seconds(1);
  Directory::Actions actions_;
  const ProcessId driver_{0, 1};
  const ProcessId other_{1, 1};
  const ProcessId worker_{0, 2};
  const ProcessId worker2_{1, 2};
};

constexpr char kKilledText[] = "The actor is dead because it was killed by `ray.kill`.";

TEST_F(ActorDirectoryTest, AnActorIsPlacedStartedAndPublished) {
  ActorSpec spec = MakeActor(1, driver_);
  spec.running = Cpus(0.5);
  Create(spec, 7);
  EXPECT_EQ(NextSent<ActorCreated>(driver_).error, "");
  Watch(other_, 1);
  const auto place = Next<Directory::Place>();
  EXPECT_EQ(place.demand.lease_class.resources, Cpus(1));
  EXPECT_EQ(place.demand.locality, driver_.node);
  ExpectUpdate(other_, ActorState::kPending, 0);
  Do(directory_.OnPlaced(GrantFor(place.demand.key, worker_)));
  const StartActor start = NextSent<StartActor>(worker_);
  EXPECT_EQ(start.spec.creation_task, "task");
  Do(directory_.OnReady({ActorIdOf(1), 0, ""}));
  const auto hold = Next<Directory::Hold>();
  EXPECT_EQ(hold.lease, start.lease);
  EXPECT_EQ(hold.held, Cpus(0.5));
  const auto update = NextSent<ActorUpdate>(other_);
  EXPECT_EQ(update.state, ActorState::kAlive);
  EXPECT_EQ(update.process, worker_);
  EXPECT_EQ(update.node, NodeIdOf(0));
  EXPECT_EQ(directory_.Stats().alive, 1u);
}

TEST_F(ActorDirectoryTest, CreatingTheSameActorTwiceChangesNothing) {
  CreateAlive(MakeActor(1, driver_), 1, worker_);
  Create(MakeActor(1, driver_), 3);
  EXPECT_EQ(NextSent<ActorCreated>(driver_).error, "");
}

TEST_F(ActorDirectoryTest, ANameBelongsToOneLivingActorOfItsNameSpace) {
  ActorSpec spec = MakeActor(1, driver_);
  spec.name = "board";
  Create(spec, 1);
  EXPECT_EQ(NextSent<ActorCreated>(driver_).error, "");
  Start(1, worker_);
  ActorSpec same = MakeActor(2, other_);
  same.name = "board";
  Create(same, 2);
  EXPECT_EQ(
      NextSent<ActorCreated>(other_).error,
      "The name board (namespace=space) is already taken by a living actor. Please use a different name, or get that "
      "actor with "
      "ray.get_actor('board', namespace='space').");
  same.name_space = "elsewhere";
  Create(same, 3);
  EXPECT_EQ(NextSent<ActorCreated>(other_).error, "");
  Start(2, worker2_);
}

TEST_F(ActorDirectoryTest, AKillFreesTheName) {
  ActorSpec spec = MakeActor(1, driver_);
  spec.name = "board";
  CreateAlive(spec, 1, worker_);
  Do(directory_.OnKill({spec.actor, true, ""}, now_));
  EXPECT_EQ(Next<Directory::EndLease>().ending, Directory::Ending::kKill);
  ActorSpec next = MakeActor(2, driver_);
  next.name = "board";
  Create(next, 5);
  EXPECT_EQ(NextSent<ActorCreated>(driver_).error, "");
  Start(2, worker2_);
}

// Actors that are called "board", and whether a further one could be.
class ActorNameTest : public ActorDirectoryTest {
 protected:
  ActorSpec Named(int number, bool detached = false) {
    ActorSpec spec = MakeActor(number, driver_);
    spec.name = "board";
    spec.detached = detached;
    return spec;
  }
  void ExpectTaken(const std::string& by = "already taken by an actor that is dead") {
    Create(Named(90), 9);
    EXPECT_NE(NextSent<ActorCreated>(driver_).error.find(by), std::string::npos);
  }
  void ExpectFree() {
    Create(Named(91), 9);
    EXPECT_EQ(NextSent<ActorCreated>(driver_).error, "");
    Start(91, worker2_);
  }
  std::vector<std::string> Found() {
    Do(directory_.OnLookup(other_, {4, "board", "space", false}));
    return NextSent<ActorFound>(other_).handles;
  }
};

TEST_F(ActorNameTest, StaysWithADeadActorUntilItsHandlesAreGone) {
  CreateAlive(Named(1), 1, worker_);
  Do(directory_.OnProcessGone(worker_, "killed by signal 9"));
  EXPECT_TRUE(Found().empty());
  Do(directory_.OnLookup(other_, {6, "", "", true}));
  EXPECT_TRUE(NextSent<ActorFound>(other_).names.empty());
  ExpectTaken();
  Do(directory_.OnOutOfScope({ActorIdOf(1)}));
  ExpectFree();
  Do(directory_.OnOutOfScope({ActorIdOf(1)}));  // once more: it is another's name now
  EXPECT_EQ(Found().size(), 1u);
}

TEST_F(ActorNameTest, StaysAfterExitActorAndIsFreedByAKill) {
  CreateAlive(Named(1), 1, worker_);
  Do(directory_.OnKill({ActorIdOf(1), true, "exit_actor() is called.", true}, now_));
  Next<Directory::EndLease>();
  Do(directory_.OnProcessGone(worker_, "exit code 0"));
  ExpectTaken();
  Do(directory_.OnKill({ActorIdOf(1), false, ""}, now_));  // a restart is not what frees it
  ExpectTaken();
  Do(directory_.OnKill({ActorIdOf(1), true, ""}, now_));
  ExpectFree();
  Watch(other_, 1);
  ExpectUpdate(other_, ActorState::kDead, 0, "exit_actor() is called.");
}

TEST_F(ActorNameTest, StaysWhenTheConstructorFailsOrRestartsAreUsedUp) {
  ActorSpec spec = Named(1);
  spec.max_restarts = 1;
  CreateAlive(spec, 1, worker_);
  Do(directory_.OnProcessGone(worker_, "crash"));
  const StartActor start = PlaceOn(worker_);
  ExpectTaken("already taken by a living actor");
  Do(directory_.OnReady({ActorIdOf(1), start.incarnation, "pickled"}));
  Next<Directory::EndLease>();
  ExpectTaken();
  Do(directory_.OnOutOfScope({ActorIdOf(1)}));
  ExpectFree();
}

TEST_F(ActorNameTest, OfADetachedActorGoesWithIt) {
  CreateAlive(Named(1, true), 1, worker_);
  Do(directory_.OnProcessGone(worker_, "crash"));
  ExpectFree();
}

TEST_F(ActorNameTest, OfADeadActorGoesWithItsCreator) {
  ActorSpec spec = Named(1);
  spec.creator = other_;
  CreateAlive(spec, 1, worker_);
  Do(directory_.OnProcessGone(worker_, "crash"));
  ExpectTaken();
  Do(directory_.OnProcessGone(other_, "exit code 1"));
  ExpectFree();
}

TEST_F(ActorNameTest, OfADeadActorGoesWithTheNodeOfItsCreator) {
  ActorSpec spec = Named(1);
  spec.creator = other_;
  CreateAlive(spec, 1, worker_);
  Do(directory_.OnProcessGone(worker_, "crash"));
  Do(directory_.OnNodeLost(other_.node, "node 1 is gone"));
  Create(Named(91), 9);
  EXPECT_EQ(NextSent<ActorCreated>(driver_).error, "");
  Start(91, worker_);
}

TEST_F(ActorNameTest, OfAnActorThatCannotBePlacedIsFree) {
  Create(Named(1));
  const auto place = Next<Directory::Place>();
  Do(directory_.OnPlacementFailed({place.demand.key, "node 5 is not there"}));
  ExpectFree();
}

TEST_F(ActorNameTest, OfADeadActorThatIsForgottenIsFree) {
  CreateAlive(Named(1), 1, worker_);
  Do(directory_.OnProcessGone(worker_, "crash"));
  for (int i = 100; i < 100 + static_cast<int>(ActorDirectory::kMaxDead); ++i) {
    directory_.OnCreate({0, MakeActor(i, driver_)}, driver_);
    directory_.OnOutOfScope({ActorIdOf(i)});
  }
  ExpectFree();
}

TEST_F(ActorDirectoryTest, AnActorThatEndsItselfIsGivenTheTime) {
  const ActorSpec spec = MakeActor(1, driver_);
  CreateAlive(spec, 1, worker_);
  Do(directory_.OnKill({spec.actor, true, "exit_actor() is called.", true}, now_));
  EXPECT_EQ(Next<Directory::EndLease>().ending, Directory::Ending::kExit);
}

TEST_F(ActorDirectoryTest, AnActorWhoseArgumentsAreLostGivesItsPlaceUpUntilTheyAreThere) {
  const ActorSpec spec = MakeActor(1, driver_);
  Create(spec);
  const StartActor start = PlaceOn(worker_);
  Do(directory_.OnReady({spec.actor, 0, "", 0, true}));
  const auto end = Next<Directory::EndLease>();
  EXPECT_EQ(end.lease, start.lease);
  EXPECT_EQ(end.ending, Directory::Ending::kExit);
  EXPECT_EQ(NextSent<ActorArgsLost>(driver_).actor, spec.actor);
  Do(directory_.OnArgs({spec.actor, "task with other places", "", ""}));
  EXPECT_EQ(PlaceOn(worker2_).spec.creation_task, "task with other places");
}

TEST_F(ActorDirectoryTest, AnActorWhoseArgumentsCannotBeHadAgainDies) {
  const ActorSpec spec = MakeActor(1, driver_);
  Create(spec);
  PlaceOn(worker_);
  Do(directory_.OnReady({spec.actor, 0, "", 0, true}));
  Next<Directory::EndLease>();
  NextSent<ActorArgsLost>(driver_);
  Watch(other_, 1);
  ExpectUpdate(other_, ActorState::kPending, 0);
  Do(directory_.OnArgs({spec.actor, "", "they cannot be had", "error"}));
  const auto update = NextSent<ActorUpdate>(other_);
  EXPECT_EQ(update.state, ActorState::kDead);
  EXPECT_EQ(update.cause, "they cannot be had");
  EXPECT_EQ(update.init_error, "error");
}

// It outlives its creator, but not its need of what only that can bring.
TEST_F(ActorDirectoryTest, ADetachedActorWhoseArgumentsAreLostDiesWithItsCreator) {
  for (const bool creator_dies_first : {false, true}) {
    const int number = creator_dies_first ? 2 : 1;
    ActorSpec spec = MakeActor(number, creator_dies_first ? other_ : driver_);
    spec.detached = true;
    Create(spec);
    PlaceOn(worker_);
    if (creator_dies_first) Do(directory_.OnProcessGone(spec.creator, "crash"));
    Do(directory_.OnReady({spec.actor, 0, "", 0, true}));
    Next<Directory::EndLease>();
    if (!creator_dies_first) {
      NextSent<ActorArgsLost>(spec.creator);
      Do(directory_.OnProcessGone(spec.creator, "crash"));
    }
    EXPECT_EQ(directory_.Stats().dead, static_cast<std::size_t>(number));
  }
}

TEST_F(ActorDirectoryTest, AnActorOutOfScopeIsStartedAgainForItsResults) {
  ActorSpec spec = MakeActor(1, driver_);
  spec.max_restarts = 1;
  spec.name = "board";
  CreateAlive(spec, 1, worker_);
  Watch(driver_, 1);
  ExpectUpdate(driver_, ActorState::kAlive, 0);
  Do(directory_.OnOutOfScope({spec.actor, true}));
  EXPECT_EQ(Next<Directory::EndLease>().ending, Directory::Ending::kExit);
  const auto dead = NextSent<ActorUpdate>(driver_);
  EXPECT_EQ(dead.state, ActorState::kDead);
  EXPECT_TRUE(dead.restartable);
  Do(directory_.OnRestart({spec.actor}));
  const StartActor start = PlaceOn(worker2_);
  EXPECT_EQ(start.incarnation, 1u);
  EXPECT_EQ(start.spec.creation_task, "task");
  Watch(driver_, 1);
  ExpectUpdate(driver_, ActorState::kRestarting, 1);
  // Once is all it may be restarted.
  Do(directory_.OnOutOfScope({spec.actor, true}));
  Next<Directory::EndLease>();
  EXPECT_FALSE(NextSent<ActorUpdate>(driver_).restartable);
  Do(directory_.OnRestart({spec.actor}));
}

TEST_F(ActorDirectoryTest, AnActorOutOfScopeIsForgottenWhenItsResultsOrItsCreatorAre) {
  for (const int number : {1, 2}) {
    ActorSpec spec = MakeActor(number, driver_);
    spec.max_restarts = -1;
    CreateAlive(spec, number, worker_);
    Do(directory_.OnOutOfScope({spec.actor, true}));
    Next<Directory::EndLease>();
    Do(number == 1 ? directory_.OnOutOfScope({spec.actor, false}) : directory_.OnProcessGone(driver_, "crash"));
    Do(directory_.OnRestart({spec.actor}));
    EXPECT_EQ(directory_.Stats().dead, static_cast<std::size_t>(number));
  }
}

TEST_F(ActorDirectoryTest, LooksUpNamesAndListsThem) {
  ActorSpec spec = MakeActor(1, driver_);
  spec.name = "board";
  CreateAlive(spec, 1, worker_);
  ActorSpec second = MakeActor(2, driver_);
  second.name = "table";
  second.name_space = "elsewhere";
  CreateAlive(second, 2, worker2_);
  Do(directory_.OnLookup(other_, {4, "board", "space", false}));
  const auto found = NextSent<ActorFound>(other_);
  EXPECT_EQ(found.token, 4u);
  EXPECT_EQ(found.handles, std::vector<std::string>{"handle1"});
  Do(directory_.OnLookup(other_, {5, "board", "elsewhere", false}));
  EXPECT_TRUE(NextSent<ActorFound>(other_).handles.empty());
  Do(directory_.OnLookup(other_, {6, "", "space", true}));
  EXPECT_EQ(NextSent<ActorFound>(other_).names, (std::vector<std::pair<std::string, std::string>>{{"space", "board"}}));
  Do(directory_.OnLookup(other_, {7, "", "", true}));
  EXPECT_EQ(NextSent<ActorFound>(other_).names.size(), 2u);
}

TEST_F(ActorDirectoryTest, AnActorWhoseConstructorFailsIsDeadWithItsException) {
  ActorSpec spec = MakeActor(1, driver_);
  spec.max_restarts = -1;
  Create(spec);
  Watch(driver_, 1);
  const auto place = Next<Directory::Place>();
  ExpectUpdate(driver_, ActorState::kPending, 0);
  Do(directory_.OnPlaced(GrantFor(place.demand.key, worker_)));
  NextSent<StartActor>(worker_);
  Do(directory_.OnReady({spec.actor, 0, "pickled"}));
  EXPECT_EQ(Next<Directory::EndLease>().ending, Directory::Ending::kExit);
  const auto update = NextSent<ActorUpdate>(driver_);
  EXPECT_EQ(update.state, ActorState::kDead);
  EXPECT_EQ(update.init_error, "pickled");
  EXPECT_EQ(update.cause, "The actor died because of an error raised in its creation task.");
}

TEST_F(ActorDirectoryTest, RestartsAsOftenAsAllowedThenDies) {
  ActorSpec spec = MakeActor(1, driver_);
  spec.max_restarts = 1;
  CreateAlive(spec, 1, worker_);
  Watch(other_, 1);
  ExpectUpdate(other_, ActorState::kAlive, 0);
  Do(directory_.OnProcessGone(worker_, "killed by signal 9"));
  ExpectUpdate(other_, ActorState::kRestarting, 1);
  Start(1, worker2_);
  ExpectUpdate(other_, ActorState::kAlive, 1);
  Do(directory_.OnProcessGone(worker2_, "killed by signal 11"));
  ExpectUpdate(other_, ActorState::kDead, 1,
               "The actor is dead because its worker process has died: killed by signal 11.");
}

TEST_F(ActorDirectoryTest, TheLossOfItsNodeIsTheCauseOfAnActorsDeath) {
  CreateAlive(MakeActor(1, driver_), 1, {1, 7});
  Watch(driver_, 1);
  ExpectUpdate(driver_, ActorState::kAlive, 0);
  Do(directory_.OnNodeLost(1, "no sign of life"));
  ExpectUpdate(driver_, ActorState::kDead, 0, "The actor died because its node has died: no sign of life.");
}

TEST_F(ActorDirectoryTest, RestartsForeverIfMaxRestartsIsMinusOne) {
  ActorSpec spec = MakeActor(1, driver_);
  spec.max_restarts = -1;
  CreateAlive(spec, 1, ProcessId{0, 10});
  for (std::uint32_t i = 0; i < 50; ++i) {
    Do(directory_.OnProcessGone(ProcessId{0, 10 + i}, "crash"));
    Start(1, ProcessId{0, 11 + i});
  }
}

TEST_F(ActorDirectoryTest, ALateReadyOfAnOldIncarnationIsIgnored) {
  ActorSpec spec = MakeActor(1, driver_);
  spec.max_restarts = 2;
  Create(spec);
  PlaceOn(worker_);
  Do(directory_.OnProcessGone(worker_, "crash"));
  PlaceOn(worker2_);
  Do(directory_.OnReady({spec.actor, 0, ""}));
  Do(directory_.OnReady({spec.actor, 1, ""}));
  Next<Directory::Hold>();
  Do(directory_.OnReady({spec.actor, 1, ""}));
}

TEST_F(ActorDirectoryTest, AnActorDiesWithItsCreatorUnlessDetached) {
  CreateAlive(MakeActor(1, other_), 1, worker_);
  ActorSpec detached = MakeActor(2, other_);
  detached.detached = true;
  CreateAlive(detached, 2, worker2_);
  Watch(driver_, 1);
  ExpectUpdate(driver_, ActorState::kAlive, 0);
  Do(directory_.OnProcessGone(other_, "exit code 1"));
  const auto end = Next<Directory::EndLease>();
  EXPECT_EQ(end.worker, worker_);
  EXPECT_EQ(end.ending, Directory::Ending::kKill);
  ExpectUpdate(driver_, ActorState::kDead, 0,
               "The actor is dead because its owner has died. Owner: 1.1 (exit code 1).");
  EXPECT_EQ(directory_.Stats().alive, 1u);
}

TEST_F(ActorDirectoryTest, AnActorThatDiesTakesTheActorsItCreatedAlong) {
  CreateAlive(MakeActor(1, driver_), 1, worker_);
  CreateAlive(MakeActor(2, worker_), 2, worker2_);
  Do(directory_.OnProcessGone(worker_, "crash"));
  EXPECT_EQ(Next<Directory::EndLease>().worker, worker2_);
  EXPECT_EQ(directory_.Stats().dead, 2u);
}

TEST_F(ActorDirectoryTest, KillWithRestartAllowedStartsTheNextIncarnation) {
  ActorSpec spec = MakeActor(1, driver_);
  spec.max_restarts = 1;
  CreateAlive(spec, 1, worker_);
  Watch(driver_, 1);
  ExpectUpdate(driver_, ActorState::kAlive, 0);
  Do(directory_.OnKill({spec.actor, false, ""}, now_));
  EXPECT_EQ(Next<Directory::EndLease>().ending, Directory::Ending::kKill);
  ExpectUpdate(driver_, ActorState::kRestarting, 1);
  Do(directory_.OnProcessGone(worker_, "told to end"));  // no second restart for it
  Start(1, worker2_);
  ExpectUpdate(driver_, ActorState::kAlive, 1);
  Do(directory_.OnKill({spec.actor, false, ""}, now_));
  Next<Directory::EndLease>();
  ExpectUpdate(driver_, ActorState::kDead, 1, kKilledText);
}

TEST_F(ActorDirectoryTest, KillOfAnActorThatWaitsForAPlaceWithdrawsIt) {
  Create(MakeActor(1, driver_));
  const auto place = Next<Directory::Place>();
  Do(directory_.OnKill({ActorIdOf(1), true, ""}, now_));
  const auto withdrawn = Next<Directory::Place>();
  EXPECT_EQ(withdrawn.demand.key, place.demand.key);
  EXPECT_EQ(withdrawn.demand.count, 0u);
  Do(directory_.OnPlaced(GrantFor(place.demand.key, worker_)));  // was under way
  const auto end = Next<Directory::EndLease>();
  EXPECT_EQ(end.worker, worker_);
  EXPECT_EQ(end.ending, Directory::Ending::kReturn);
  Watch(driver_, 1);
  ExpectUpdate(driver_, ActorState::kDead, 0, kKilledText);
}

TEST_F(ActorDirectoryTest, KillOfAnActorThatWaitsForAPlaceTakesOneOfItsStarts) {
  ActorSpec spec = MakeActor(1, driver_);
  spec.max_restarts = 1;
  Create(spec);
  const auto place = Next<Directory::Place>();
  Do(directory_.OnKill({spec.actor, false, ""}, now_));
  const auto withdrawn = Next<Directory::Place>();
  EXPECT_EQ(withdrawn.demand.key, place.demand.key);
  EXPECT_EQ(withdrawn.demand.count, 0u);
  const auto next = Next<Directory::Place>();
  EXPECT_NE(next.demand.key, place.demand.key);
  EXPECT_EQ(next.demand.count, 1u);
  Do(directory_.OnKill({spec.actor, false, ""}, now_));
  EXPECT_EQ(Next<Directory::Place>().demand.count, 0u);
  Watch(driver_, 1);
  ExpectUpdate(driver_, ActorState::kDead, 1, kKilledText);
}

TEST_F(ActorDirectoryTest, KillGivesTheCauseItBrings) {
  CreateAlive(MakeActor(1, driver_), 1, worker_);
  Do(directory_.OnKill({ActorIdOf(1), true, "exit_actor() was called."}, now_));
  EXPECT_EQ(Next<Directory::EndLease>().reason, "exit_actor() was called.");
  Watch(driver_, 1);
  ExpectUpdate(driver_, ActorState::kDead, 0, "exit_actor() was called.");
}

TEST_F(ActorDirectoryTest, AnActorOutOfScopeEndsUnlessDetached) {
  CreateAlive(MakeActor(1, driver_), 1, worker_);
  ActorSpec detached = MakeActor(2, driver_);
  detached.detached = true;
  CreateAlive(detached, 2, worker2_);
  Do(directory_.OnOutOfScope({ActorIdOf(1)}));
  Do(directory_.OnOutOfScope({ActorIdOf(2)}));
  EXPECT_EQ(Next<Directory::EndLease>().ending, Directory::Ending::kExit);
  Watch(driver_, 1);
  ExpectUpdate(driver_, ActorState::kDead, 0, "The actor is dead because all references to the actor were removed.");
}

TEST_F(ActorDirectoryTest, APlacementLostWithItsNodeIsAskedForAgainWithoutARestart) {
  Create(MakeActor(1, driver_));
  const auto place = Next<Directory::Place>();
  Do(directory_.OnPlacementLost(place.demand.key));
  EXPECT_EQ(PlaceOn(worker_).incarnation, 0u);
  Do(directory_.OnPlacementLost(place.demand.key));
}

TEST_F(ActorDirectoryTest, APlacementThatFailsIsTheEndOfTheActor) {
  Create(MakeActor(1, driver_));
  const auto place = Next<Directory::Place>();
  Do(directory_.OnPlacementFailed({place.demand.key, "node 5 is not there"}));
  Watch(driver_, 1);
  ExpectUpdate(driver_, ActorState::kDead, 0, "The actor cannot be placed: node 5 is not there.");
  Do(directory_.OnPlacementFailed({place.demand.key, "told twice"}));
}

TEST_F(ActorDirectoryTest, ALostNodeTakesItsWorkersAndCreatorsAlong) {
  ActorSpec restartable = MakeActor(1, driver_);
  restartable.max_restarts = 1;
  CreateAlive(restartable, 1, worker2_);
  ActorSpec orphan = MakeActor(2, other_);  // creator and worker on the lost node: dies with its owner, whatever it may
  orphan.max_restarts = 5;
  CreateAlive(orphan, 2, ProcessId{1, 9});
  Watch(other_, 1);
  ExpectUpdate(other_, ActorState::kAlive, 0);
  Do(directory_.OnNodeLost(1, "node 1 is gone"));
  EXPECT_EQ(Next<Directory::EndLease>().worker, (ProcessId{1, 9}));
  Start(1, worker_);
  EXPECT_EQ(directory_.Stats().dead, 1u);
  EXPECT_EQ(directory_.Stats().watchers, 0u);
}

TEST_F(ActorDirectoryTest, AWatchOfAnActorNotYetCreatedIsAnsweredWhenItIs) {
  Watch(other_, 1);
  ASSERT_TRUE(directory_.NextTick());
  Create(MakeActor(1, driver_));
  const auto place = Next<Directory::Place>();
  ExpectUpdate(other_, ActorState::kPending, 0);
  EXPECT_FALSE(directory_.NextTick());
  Do(directory_.OnPlacementLost(place.demand.key));
  Start(1, worker_);
  ExpectUpdate(other_, ActorState::kAlive, 0);
}

TEST_F(ActorDirectoryTest, AKillThatOvertakesTheCreationIsKept) {
  Do(directory_.OnKill({ActorIdOf(1), true, ""}, now_));
  Watch(other_, 1);
  Create(MakeActor(1, driver_));
  EXPECT_EQ(Next<Directory::Place>().demand.count, 1u);
  EXPECT_EQ(Next<Directory::Place>().demand.count, 0u);
  ExpectUpdate(other_, ActorState::kDead, 0, kKilledText);
}

TEST_F(ActorDirectoryTest, AnActorThatIsNeverCreatedCountsAsDeadAfterAWhile) {
  Watch(other_, 1);
  Watch(driver_, 1);
  Do(directory_.OnProcessGone(driver_, "gone"));
  Do(directory_.OnTick(now_ + seconds(9)));
  EXPECT_EQ(directory_.NextTick(), now_ + seconds(10));
  Do(directory_.OnTick(now_ + seconds(10)));
  ExpectUpdate(other_, ActorState::kDead, 0,
               "The actor is not known: it was never created, or it died so long ago that it was forgotten.");
  EXPECT_FALSE(directory_.NextTick());
}

TEST_F(ActorDirectoryTest, WatchersThatAreGoneAreToldNothing) {
  CreateAlive(MakeActor(1, driver_), 1, worker_);
  Watch(other_, 1);
  Watch(other_, 1);
  ExpectUpdate(other_, ActorState::kAlive, 0);
  ExpectUpdate(other_, ActorState::kAlive, 0);
  Do(directory_.OnProcessGone(other_, "gone"));
  Do(directory_.OnOutOfScope({ActorIdOf(1)}));
  Next<Directory::EndLease>();
}

TEST_F(ActorDirectoryTest, ForgetsTheOldestDeadBeyondALimit) {
  const int count = static_cast<int>(ActorDirectory::kMaxDead) + 10;
  for (int i = 0; i < count; ++i) {
    ActorId id = ActorIdOf(i);
    directory_.OnCreate({0, MakeActor(i, driver_)}, driver_);
    directory_.OnOutOfScope({id});
  }
  EXPECT_EQ(directory_.Stats().dead, ActorDirectory::kMaxDead);
  Watch(driver_, count - 1);
  ExpectUpdate(driver_, ActorState::kDead, 0, "The actor is dead because all references to the actor were removed.");
}

}  // namespace
}  // namespace ray_engine
