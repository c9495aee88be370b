// OutputService: what workers write goes to the driver of their job, line by line, and into the node's log file.
//
// Every piece gets a prefix that says who wrote it and where: "(name pid=N, ip=A)". A worker names what it runs by a
// line of its own in each stream, ":task_name:f" or ":actor_name:Counter", which is not passed on.
//
// Owns the log file. Loop-bound.

#pragma once

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "engine/node/node_config.h"
#include "engine/node/processes.h"
#include "engine/node/router.h"
#include "engine/wire/control.h"

namespace ray_engine {

class OutputService {
 public:
  OutputService(Router* router, Processes* processes, const NodeConfig* config);

  void OnOutput(const Output& output);

 private:
  void PassOn(Process* process, const Output& output, const std::string& text);
  std::string PrefixOf(const std::string& title, std::uint32_t pid) const;
  void WriteLog(const std::string& prefix, const std::string& text);

  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  Router* router_;
  Processes* processes_;
  const NodeConfig* config_;
  std::unique_ptr<std::FILE, Close> log_;
};

// What a worker wrote under one name.
struct TitledText {
  std::string title;  // empty: that of the text before
  std::string text;
};
// Cuts `text` at the lines by which a worker names what it runs, and takes these lines out.
std::vector<TitledText> CutAtTitles(const std::string& text);

}  // namespace ray_engine
