"""experimental.tqdm_ray: bars of workers, drawn at the driver."""

import builtins
import io

import pytest
import ray_engine as ray
from ray_engine._private import progress_bars
from ray_engine.experimental import tqdm_ray

from tests.python.waiting import wait_for

tqdm = pytest.importorskip("tqdm")


@pytest.fixture
def manager(monkeypatch):
    """A manager of its own for each test; print() is put back."""
    monkeypatch.setattr(tqdm.tqdm, "monitor_interval", 0)  # no thread that stays
    monkeypatch.setattr(progress_bars, "_manager", None)
    monkeypatch.setattr(builtins, "print", builtins.print)
    return tqdm_ray.instance()


def bars(manager):
    return [bar.bar for group in list(manager.bar_groups.values()) for bar in list(group.bars_by_uuid.values())]


def test_a_bar_of_the_driver(cluster, manager):
    bar = tqdm_ray.tqdm(desc="reading", total=10, flush_interval_s=0)
    bar.update(4)
    (drawn,) = bars(manager)
    assert (drawn.n, drawn.total, drawn.desc) == (4, 10, "reading")
    bar.set_description("writing")
    assert drawn.desc == "writing: "
    bar.close()
    assert bars(manager) == []


def test_a_bar_over_items(cluster, manager):
    assert list(tqdm_ray.tqdm("abc")) == ["a", "b", "c"]
    assert bars(manager)[0].n == 3
    with pytest.raises(ValueError, match="iterable"):
        list(tqdm_ray.tqdm())


def test_a_bar_is_not_drawn_too_often(cluster, manager):
    bar = tqdm_ray.tqdm(total=10, flush_interval_s=1000)
    bar.update()
    bar.update(5)
    assert bars(manager)[0].n == 1
    bar.refresh()
    assert bars(manager)[0].n == 1


def test_bars_of_workers(cluster, manager, capfd):
    @ray.remote
    class Worker:
        def __init__(self, name):
            self.bar = tqdm_ray.tqdm(desc=name, total=100, flush_interval_s=0)

        def work(self, n):
            self.bar.update(n)

        def say(self, text):
            print(text)

        def close(self):
            self.bar.close()

    workers = [Worker.remote(name) for name in ("one", "two")]
    ray.get([worker.work.remote(30) for worker in workers])
    wait_for(lambda: len(bars(manager)) == 2, "two bars")
    wait_for(lambda: [bar.n for bar in bars(manager)] == [30, 30], "their progress")
    assert sorted(bar.pos for bar in bars(manager)) == [-1, 0]
    ray.get(workers[0].say.remote("hello there"))
    wait_for(lambda: manager.num_hides == 1 and not manager.in_hidden_state, "a line between the bars")
    ray.get([worker.close.remote() for worker in workers])
    wait_for(lambda: bars(manager) == [], "the end of the bars")
    shown = capfd.readouterr().out
    assert "hello there" in shown and "magic" not in shown


def test_print_leaves_bars_alone(cluster, manager, capsys):
    assert builtins.print is tqdm_ray.safe_print
    bar = tqdm_ray.tqdm(total=2, flush_interval_s=0)
    bar.update()
    print("a line")
    assert manager.num_hides == 1
    file = io.StringIO()
    print("elsewhere", file=file)
    assert manager.num_hides == 1 and file.getvalue() == "elsewhere\n"
    assert "a line" in capsys.readouterr().out
    bar.close()
