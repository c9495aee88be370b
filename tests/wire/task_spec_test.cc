#include "engine/wire/task_spec.h"

#include <gtest/gtest.h>

namespace ray_engine {
namespace {

TEST(TaskSpec, AnArgumentThatClaimsMoreReferencesThanThereAreBytesIsMalformed) {
  for (const ArgHeader::Kind kind : {ArgHeader::kValue, ArgHeader::kStored}) {
    TaskHeader header;
    header.arg_count = 1;
    ArgHeader arg;
    arg.kind = kind;
    arg.ref_count = 0xffffffff;
    std::string payload;
    AppendPlain(&payload, header);
    payload.push_back('\0');  // no name
    AppendPlain(&payload, arg);
    payload.append(1000, '\0');
    TaskView view;
    EXPECT_FALSE(ParseTask(payload, &view));
  }
}

}  // namespace
}  // namespace ray_engine
