# What people look for under these names is in .ci: tests, and the comparison of benchmarks.
.PHONY: test compare

test:
	./.ci/run

# make compare OLD=v0.1.0 [NEW=main]: with benchstat; without NEW, of the work tree.
compare:
	./.ci/compare $(OLD) $(NEW)
