"""A first load: 1,017,209 sales, 1,115 stores to 32 features and the warehouse. By hand: `make benchmark-first-load`.

Grain of the output: one line a way, with the median and all values in seconds, the ratio to the first line, and the
median of CPU seconds of all its processes, which other work on the machine hardly changes.

* *dataops run*: one cold process in a new home, from its start to its end: raw copies, lake, changes, hub, features,
  dbt models, with checks, contracts, profiles and lineage. dbt has not parsed its project before.
* *a script in DuckDB*: reads both files, computes the same features in one query, and writes one Parquet file.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from live_dagster import environment
from project_copy import project_copy

from dataops_assets.demo import rossmann
from dataops_assets.metadata.store import MetadataStore

FLIGHTS = ("airlines", "airports", "flights", "planes", "weather")
SCRIPT = """
import sys
import duckdb

train, store, target = sys.argv[1:]
connection = duckdb.connect()
connection.execute("create table store as select * from read_csv(?)", [store])
connection.execute("create table train as select * from read_csv(?, types = {'StateHoliday': 'VARCHAR'})", [train])
lags = ", ".join(
    f"max(Sales) over (partition by t.Store order by Date range between interval {n} day preceding and "
    f"interval {n} day preceding) as Sales_Lag_{n}" for n in (1, 7, 14, 28)
)
rolling = ", ".join(
    f"avg(Sales) over w{n} as Sales_RollingMean_{n}, stddev_samp(Sales) over w{n} as Sales_RollingStd_{n}"
    for n in (7, 14, 28, 60)
)
windows = ", ".join(
    f"w{n} as (partition by t.Store order by Date range between interval {n} day preceding and "
    "interval 1 day preceding)" for n in (7, 14, 28, 60)
)
connection.execute(f'''
copy (
    select t.*, StoreType, Assortment,
        year(Date) as Year, month(Date) as Month, weekofyear(Date) as Week, day(Date) as Day, quarter(Date) as Quarter,
        day(Date) = 1 as IsMonthStart, Date = last_day(Date) as IsMonthEnd,
        day(Date) = 1 and month(Date) % 3 = 1 as IsQuarterStart,
        Date = last_day(Date) and month(Date) % 3 = 0 as IsQuarterEnd,
        DayOfWeek >= 6 as IsWeekend, (month(Date) % 12) // 3 as Season,
        Promo2 = 1 and contains(PromoInterval, strftime(Date, '%b')) as Promo2Active,
        case when Promo2 = 1 then greatest(0, date_diff('day',
            date_trunc('week', make_date(Promo2SinceYear, 1, 7)), Date) - 7 * (Promo2SinceWeek - 1)) else 0 end
            as Promo2Duration,
        PromoInterval = 'Jan,Apr,Jul,Oct' as PromoInterval_JAJO,
        PromoInterval = 'Feb,May,Aug,Nov' as PromoInterval_FMAN,
        PromoInterval = 'Mar,Jun,Sept,Dec' as PromoInterval_MJSD,
        ln(1 + CompetitionDistance) as CompetitionDistance_log, CompetitionDistance < 100000 as HasCompetition,
        greatest(0, coalesce(date_diff('day',
            make_date(CompetitionOpenSinceYear, CompetitionOpenSinceMonth, 1), Date), 0)) as CompetitionAge,
        {lags}, {rolling}
    from train as t left join store as s on t.Store = s.Store
    window {windows}
) to '{target}' (format parquet)
''')
"""


@dataclass(frozen=True)
class Taken:
    """Seconds from start to end, and CPU seconds, of a command with its children."""

    seconds: float
    cpu: float


def files(place: Path) -> dict[str, Path]:
    """The two files, by source; made once."""
    made = {"sales": place / "train.csv", "stores": place / "store.csv"}
    made["sales"].write_bytes(rossmann.csv_bytes(rossmann.sales()))
    made["stores"].write_bytes(rossmann.csv_bytes(rossmann.stores()))
    return made


def by_command(home: Path, project: Path, made: dict[str, Path]) -> tuple[Taken, str]:
    """What `dataops run` takes in a new home, and the seconds of its steps."""
    variables = environment(home, PYTHONPATH=str(project))
    # it makes the instance of its home
    del variables["DAGSTER_HOME"]
    for source in FLIGHTS:
        # a folder that is missing would be told, with exit code 1
        (home / "landing" / "flights" / source).mkdir(parents=True)
    for source, path in made.items():
        folder = home / "landing" / "rossmann" / source
        folder.mkdir(parents=True)
        os.link(path, folder / path.name)
        os.utime(folder / path.name, (1_700_000_000, 1_700_000_000))
    taken = run([str(Path(sys.executable).parent / "dataops"), "run"], project, variables)
    metadata = MetadataStore(f"sqlite:///{home / 'metadata.db'}")
    steps = [(one.step, one.seconds or 0.0) for source in made for one in metadata.processes(source)]
    told = ", ".join(f"{step} {seconds:.1f}" for step, seconds in sorted(steps, key=lambda each: -each[1])[:6])
    return taken, f"steps {sum(seconds for _, seconds in steps):.1f} s: {told}"


def by_script(target: Path, made: dict[str, Path]) -> Taken:
    """What the script takes in a new process."""
    command = [sys.executable, "-c", SCRIPT, str(made["sales"]), str(made["stores"]), str(target)]
    return run(command, target.parent, None)


def run(command: list[str], folder: Path, variables: dict[str, str] | None) -> Taken:
    """Run a command and return what it took; its output is shown if it fails."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[:2])}:\n{done.stdout}{done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Taken(time.monotonic() - started, cpu)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=3)
    times = parser.parse_args().times
    with tempfile.TemporaryDirectory() as text:
        place = Path(text)
        project, made = project_copy(place / "project"), files(place)
        commands = [by_command(place / f"home{number}", project, made) for number in range(times)]
        scripts = [by_script(place / "features.parquet", made) for _ in range(times)]
        base = statistics.median(taken.seconds for taken, _ in commands)
        for what, taken in (("dataops run, cold", [one for one, _ in commands]), ("a script in DuckDB", scripts)):
            middle = statistics.median(one.seconds for one in taken)
            cpu = statistics.median(one.cpu for one in taken)
            told = ", ".join(f"{one.seconds:.1f}" for one in taken)
            print(f"{what:<24}{middle:>6.1f}  x{middle / base:.2f}  {told}; CPU s {cpu:.1f}")
        print(commands[-1][1])


if __name__ == "__main__":
    main()
