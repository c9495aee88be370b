// Gather: a question put to many at once. It is answered when each of them has answered or is gone. `Who` they are:
// processes, or forkservers by number.
//
// Pure bookkeeping. Loop-bound.

#pragma once

#include <absl/container/btree_set.h>

#include <cstdint>
#include <functional>
#include <map>
#include <utility>
#include <vector>

#include "engine/base/ids.h"

namespace ray_engine {

template <class Answer, class Who = ProcessId>
class Gather {
 public:
  using Done = std::function<void(std::vector<Answer>)>;

  // The number of a new round, to be sent along with the question. Calls `done` at once if nobody is asked.
  std::uint64_t Begin(absl::btree_set<Who> asked, Done done) {
    Round& round = rounds_[++last_round_];
    round.missing = std::move(asked);
    round.done = std::move(done);
    EndIfComplete(last_round_);
    return last_round_;
  }

  // An answer to a round that is over, or a second one, has no effect.
  void OnAnswer(std::uint64_t number, Who from, Answer answer) {
    const auto round = rounds_.find(number);
    if (round == rounds_.end() || round->second.missing.erase(from) == 0) return;
    round->second.answers.push_back(std::move(answer));
    EndIfComplete(number);
  }

  // Nobody waits for its answers any more.
  void OnGone(Who gone) {
    std::vector<std::uint64_t> concerned;
    for (auto& [number, round] : rounds_) {
      if (round.missing.erase(gone) != 0) concerned.push_back(number);
    }
    for (const std::uint64_t number : concerned) EndIfComplete(number);
  }

 private:
  struct Round {
    absl::btree_set<Who> missing;
    std::vector<Answer> answers;
    Done done;
  };

  void EndIfComplete(std::uint64_t number) {
    const auto found = rounds_.find(number);
    if (found == rounds_.end() || !found->second.missing.empty()) return;
    Round round = std::move(found->second);
    rounds_.erase(found);
    round.done(std::move(round.answers));
  }

  std::map<std::uint64_t, Round> rounds_;
  std::uint64_t last_round_ = 0;
};

}  // namespace ray_engine
