"""Runs the commands of run.sh in turn and prints medians and ratios."""
import os, re, resource, statistics, subprocess, sys, time

binary, base, scratch, ids, rounds, batch = sys.argv[1:7]
ids, rounds = int(ids), int(rounds)
CURLS = 1000


def run(command, stdin=None):
    """Wall seconds, CPU seconds and peak KiB of one command, pinned to one core."""
    environment = {"IMAGEKIT_PRIVATE_KEY": "private_bench", "PATH": os.environ["PATH"]}
    start = time.monotonic()
    child = subprocess.Popen(["taskset", "-c", "0", *command], stdin=stdin, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, cwd=scratch, env=environment)
    out, err = child.stdout.read(), child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"{command[0]} ended with {child.returncode}: {err.decode()[-500:]}")
    return time.monotonic() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss, out.decode()


def ours(*options):
    return run([binary, "ids.csv", "--base-url", base, "--rate", "unlimited", "--yes", "--progress", "none",
                "--overwrite", "-o", "report.csv", *options])


def wrk():
    wall, cpu, peak, out = run(["wrk", "-t1", "-c64", "-d5s", "-s", "delete.lua", base + "/v1/files/5f0000000000000000000000"])
    return int(re.search(r"(\d+) requests in", out)[1]) / wall, cpu, peak


def curls():
    with open(os.path.join(scratch, "few.txt"), "w") as few:
        few.writelines(f"{base}/v1/files/{n:024x}\n" for n in range(CURLS))
    with open(os.path.join(scratch, "few.txt")) as few:
        wall, cpu, _, _ = run(["xargs", "-P", "16", "-n", "1", "curl", "-s", "-X", "DELETE", "-u", "private_bench:"], few)
    return CURLS / wall, cpu


def median(values):
    return statistics.median(values)


rows = {"wrk": [], "xargs": [], "singles": [], "batches": []}
for _ in range(rounds):
    rows["wrk"].append(wrk())
    rows["xargs"].append(curls())
    rows["singles"].append(ours("--batch-size", "1", "--concurrency", "64"))
    if batch:
        rows["batches"].append(ours())
wrk_rate = median(row[0] for row in rows["wrk"])
xargs_rate = median(row[0] for row in rows["xargs"])
print(f"{rounds} rounds, medians; one core for the client, one for nginx; {ids} IDs")
print(f"wrk                 {wrk_rate:>10.0f} requests/s")
print(f"xargs -P 16 curl    {xargs_rate:>10.0f} IDs/s")
for name in ("singles", "batches"):
    if rows[name]:
        rate = ids / median(row[0] for row in rows[name])
        cpu = median(row[1] for row in rows[name]) / ids * 1e6
        peak = median(row[2] for row in rows[name]) / 1024
        beside = peak - 32 * ids / 2**20
        print(f"ours, {name:<13} {rate:>10.0f} IDs/s  {cpu:.1f} us CPU an ID  peak {peak:.1f} MiB, {beside:.1f} MiB beside 32 bytes an ID")
        if name == "singles":
            print(f"  to wrk {rate / wrk_rate:.2f} (aim: 0.5), to xargs and curl {rate / xargs_rate:.0f} (aim: 20)")
        else:
            print("  aim: 300,000 IDs/s")
