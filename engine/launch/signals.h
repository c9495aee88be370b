// Signals: the signals that a supervisor handles, as packets of a descriptor.
//
// Owns the descriptor. They stay blocked in this process; children are started with none blocked
// (engine/base/process.h).

#pragma once

#include <optional>

#include "engine/base/unique_fd.h"

namespace ray_engine {

class Signals {
 public:
  Signals();

  int fd() const { return fd_.get(); }

  struct Arrived {
    int number;
    bool from_terminal;  // so the whole foreground process group has it
  };
  std::optional<Arrived> Next();

  // While this lives, signals that end a process do so at once: for calls that may block for long.
  class Deadly {
   public:
    Deadly();
    ~Deadly();
  };

 private:
  UniqueFd fd_;
};

}  // namespace ray_engine
