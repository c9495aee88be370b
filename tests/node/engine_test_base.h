// One real node engine, alone in its session, with its driver. The test plays everybody else.

#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <utility>

#include "tests/node/engine_fixture.h"

namespace ray_engine {

class EngineTest : public testing::Test {
 protected:
  EngineTest() {
    up_ = engine_.WaitUp();
    engine_.Tell(Introduce{});
    driver_ = engine_.StartDriver();
  }

  JobId StartJob(const std::string& config = "config") {
    JobStart start;
    start.token = 11;
    start.config = config;
    driver_->Send(kHead, start);
    job_ = driver_->Receive<JobStarted>().job;
    return job_;
  }
  void Demand(std::uint32_t count, std::uint32_t key = 1) {
    LeaseDemand demand;
    demand.key = key;
    demand.count = count;
    demand.received = driver_->grants(key);
    demand.name = "f";
    demand.lease_class.job = job_;
    demand.lease_class.resources.Set("CPU", ResourceSet::kUnit);
    driver_->Send(kHead, demand);
  }
  // A worker leased to the driver.
  std::unique_ptr<TestProcess> LeaseWorker(LeaseGrant* grant, std::uint32_t pid = 4711) {
    if (job_.IsNil()) StartJob();
    Demand(1);
    auto worker = engine_.ForkWorker(pid);
    *grant = driver_->Receive<LeaseGrant>();
    EXPECT_EQ(grant->worker, worker->id());
    return worker;
  }
  void Die(const TestProcess& worker, std::uint32_t pid, int status) {
    engine_.FromForkserver(Exited{worker.id().serial, pid, status});
  }
  // Connects by the engine's name.
  ControlSocket Connect(const Hello& hello) {
    absl::StatusOr<ControlSocket> socket = ControlSocket::Connect(up_.socket_name);
    EXPECT_TRUE(socket.ok());
    EXPECT_TRUE(socket->Send(hello).ok());
    return *std::move(socket);
  }
  static Hello DriverHello() {
    Hello hello;
    hello.build = std::string(BuildId());
    hello.ray = std::string(RayVersion());
    hello.python = std::string(PythonVersion());
    return hello;
  }

  TestEngine engine_;
  EngineUp up_;
  std::unique_ptr<TestProcess> driver_;
  JobId job_;
};

}  // namespace ray_engine
