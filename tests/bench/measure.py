"""Runs the commands of run.sh in turn, and prints what each took: the median of the rounds."""
import os, re, statistics, subprocess, sys, time

binary, bare, scratch, plain, tls, ids, rounds, batch, before = sys.argv[1:10]
ids, rounds = int(ids), int(rounds)
CURLS = 1000
SETTLED = 2_000_000
HEADER = "file_id,status,http_status,error,attempts,duration_ms,finished_at,request_id,line,input,message,url,purge,purge_request_id\n"


def run(command, count, stdin=None, cores="0"):
    """CPU time, IDs a second and peak MiB of one command that settles `count` IDs, pinned to one core or two."""
    environment = {"IMAGEKIT_PRIVATE_KEY": "private_bench", "PATH": os.environ["PATH"],
                   "SSL_CERT_FILE": os.path.join(scratch, "ca.pem")}
    start, peak, done = time.monotonic(), 0, 0
    with open(os.path.join(scratch, "output.txt"), "w+") as output:
        child = subprocess.Popen(["taskset", "-c", cores, *command], stdin=stdin, stdout=output, stderr=output, cwd=scratch,
                                 env=environment)
        while not done:
            # The peak in the exit status would be that of this script, where the child needs less.
            peak = peak_kib(child.pid) or peak
            time.sleep(0.005)
            done, status, usage = os.wait4(child.pid, os.WNOHANG)
        wall = time.monotonic() - start
        output.seek(0)
        out = output.read()
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"{command[0]} ended with {child.returncode}: {out[-500:]}")
    if command[0] == "wrk":
        count = int(re.search(r"(\d+) requests in", out)[1])
    return (usage.ru_utime + usage.ru_stime) / count * 1e6, count / wall, peak / 1024


def peak_kib(pid):
    """The most memory that a process has had so far; None at its end."""
    with open(f"/proc/{pid}/status") as status:
        found = re.search(r"VmHWM:\s+(\d+)", status.read())
    return found and int(found[1])


def ours(program, base, *options):
    return run([program, "ids.csv", "--base-url", base, "--rate", "unlimited", "--yes", "--progress", "none",
                "--overwrite", "-o", "report.csv", *options], ids)


def singles(program, base):
    return ours(program, base, "--batch-size", "1", "--concurrency", "64")


def wrk(base):
    return run(["wrk", "-t1", "-c64", "-d3s", "-s", "delete.lua", base + "/v1/files/5f0000000000000000000000"], None)


def curl_parallel(base):
    with open(os.path.join(scratch, "urls.txt"), "w") as urls:
        for n in range(ids // 10):
            urls.write(f'url = "{base}/v1/files/{n:024x}"\noutput = /dev/null\n')
    return run(["curl", "-s", "-Z", "--parallel-max", "64", "-X", "DELETE", "-u", "private_bench:", "--cacert", "ca.pem",
                "-K", "urls.txt"], ids // 10)


def curls(base):
    with open(os.path.join(scratch, "few.txt"), "w") as few:
        few.writelines(f"{base}/v1/files/{n:024x}\n" for n in range(CURLS))
    with open(os.path.join(scratch, "few.txt")) as few:
        return run(["xargs", "-P", "16", "-n", "1", "curl", "-s", "-X", "DELETE", "-u", "private_bench:"], CURLS, few)


def dry_run(program, cores):
    return run([program, "settled.txt", "--dry-run", "--progress", "none"], SETTLED, cores=cores)


def resume(program, cores):
    """A report in which all is settled already, and an input that names all of it."""
    with open(os.path.join(scratch, "settled.csv"), "w") as report:
        report.write(HEADER)
        for n, file_id in enumerate(settled_ids()):
            report.write(f"{file_id},deleted,204,,1,42,2026-11-24T12:00:00.000Z,0123456789ab,{n + 1},settled.txt,,,,\n")
    return run([program, "settled.txt", "--base-url", plain, "--yes", "--progress", "none", "--resume", "-o", "settled.csv"],
               SETTLED, cores=cores)


def settled_ids():
    return (f"{n * 0x9e3779b97f4a7c15 % 2**64:016x}{n:08x}" for n in range(SETTLED))


def rows():
    """Name, the peer that it is a multiple of, and what to run."""
    yield "bare reqwest", None, lambda: run([bare, plain, str(ids), "64"], ids)
    yield "wrk", "bare reqwest", lambda: wrk(plain)
    yield "curl -Z", "bare reqwest", lambda: curl_parallel(plain)
    yield "xargs -P 16 curl", "bare reqwest", lambda: curls(plain)
    yield "bare reqwest, TLS", None, lambda: run([bare, tls, str(ids), "64"], ids)
    yield "curl -Z, TLS", "bare reqwest, TLS", lambda: curl_parallel(tls)
    for program, suffix in [(binary, "")] + ([(before, ", before")] if before else []):
        yield "singles" + suffix, "bare reqwest", lambda program=program: singles(program, plain)
        yield "singles, TLS" + suffix, "bare reqwest, TLS", lambda program=program: singles(program, tls)
        if batch:
            yield "batches of 100" + suffix, "bare reqwest", lambda program=program: ours(program, plain)
        for cores, where in [("0", ""), ("0,1", ", two cores")]:
            yield "dry run" + where + suffix, "bare reqwest", lambda program=program, cores=cores: dry_run(program, cores)
            yield "resume" + where + suffix, "bare reqwest", lambda program=program, cores=cores: resume(program, cores)


with open(os.path.join(scratch, "settled.txt"), "w") as listed:
    listed.writelines(file_id + "\n" for file_id in settled_ids())
measured = {}
for _ in range(rounds):
    for name, _, measure in rows():
        measured.setdefault(name, []).append(measure())
middle = {name: [statistics.median(column) for column in zip(*runs)] for name, runs in measured.items()}
print(f"{rounds} rounds, medians; one core for the client, one for nginx; {ids} IDs, {SETTLED} for dry run and resume")
print(f"{'':<28} {'us CPU per ID':>14} {'to its peer':>12} {'IDs/s':>12} {'peak MiB':>9}")
for name, peer, _ in rows():
    cpu, rate, peak = middle[name]
    ratio = f"{cpu / middle[peer][0]:.2f}" if peer else ""
    print(f"{name:<28} {cpu:>14.2f} {ratio:>12} {rate:>12.0f} {peak:>9.1f}")
