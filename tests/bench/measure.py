"""Runs the commands of run.sh in turn and prints medians and ratios."""
import os, re, resource, statistics, subprocess, sys, time

binary, base, scratch, ids, rounds, batch = sys.argv[1:7]
ids, rounds = int(ids), int(rounds)
CURLS = 1000
SETTLED = 10_000_000


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


def to_stdout():
    """Singles with the same rows written to a file, but by stdout, where no intents are kept."""
    return run(["sh", "-c", f"exec {binary} ids.csv --base-url {base} --rate unlimited --yes --progress none "
                            "--batch-size 1 --concurrency 64 -o - > stdout.csv"])


def resume():
    """A report in which all is settled already, and an input that names all of it."""
    with open(os.path.join(scratch, "settled.csv"), "w") as report, open(os.path.join(scratch, "settled.txt"), "w") as listed:
        report.write("file_id,status,http_status,error,attempts,duration_ms,finished_at,request_id,line,input,message,url,"
                     "purge,purge_request_id\n")
        for n in range(SETTLED):
            file_id = f"{n * 0x9e3779b97f4a7c15 % 2**64:016x}{n:08x}"
            report.write(f"{file_id},deleted,204,,1,42,2026-11-24T12:00:00.000Z,0123456789ab,{n + 1},settled.txt,,,,\n")
            listed.write(file_id + "\n")
    return run([binary, "settled.txt", "--base-url", base, "--yes", "--progress", "none", "--resume", "-o", "settled.csv"])


rows = {"wrk": [], "xargs": [], "singles": [], "batches": [], "stdout": []}
for _ in range(rounds):
    rows["wrk"].append(wrk())
    rows["xargs"].append(curls())
    rows["singles"].append(ours("--batch-size", "1", "--concurrency", "64"))
    rows["stdout"].append(to_stdout())
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
cpu_with, cpu_without = (median(row[1] for row in rows[name]) / ids * 1e6 for name in ("singles", "stdout"))
print(f"intents and state: {cpu_with - cpu_without:+.1f} us CPU an ID, {cpu_with / cpu_without - 1:+.0%} (aim: under 5%)")
wall, _, peak, _ = resume()
print(f"resume: {SETTLED / wall / 1e6:.1f} M settled rows/s with their records, {peak * 1024 / SETTLED:.1f} bytes an ID in all (aim: 32)")
