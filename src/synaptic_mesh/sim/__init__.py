"""The simulator: a whole network in one process, virtual milliseconds, one seed that decides everything.

queue          events ordered by (time, sequence)
network        per-link delay, loss, duplication, reordering, partitions
disk           a write-ahead log whose unsynced tail is lost (or torn) in a crash
node           what a node under simulation is: `SimNode` and the actions it returns
world          drives the nodes over queue, network and disks
faults         the schedule of crashes, partitions, losses, delays, drawn from the seed and healed at its end
signatures     a keyed hash instead of Ed25519: cheap, and checked all the same
validator      a consensus core as a SimNode
habits         what a lying puppet may do, and what it did
adversaries    the puppet: equivocation, silent votes, withholding, garbage, jumps
doubles        honest code with one key twice: amnesiacs and twins
roles          who of a committee is faulty, and how
checker        what must hold all along: no fork, no double commit, no equivocation by the honest; progress in the end
bounds         what a core may hold at most
mesh_node      a whole node assembly as a SimNode
mesh_scenario  one seeded run of whole nodes with a job
plan           what a seed decides in advance
scenario       one seeded run of a committee: `run_seed(seed, settings) -> Outcome`
mix            sums over many runs: what happened in how many of them
run            the shell: `python -m synaptic_mesh.sim.run --seed 7`

The same seed and the same code give the same bytes. Nothing here reads a clock except the shell, which measures its
own cost.
"""
