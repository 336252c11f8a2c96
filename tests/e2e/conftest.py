"""The browserless end-to-end tests poll with the same deadline helper as the jobs' tests."""

from tests.jobs.conftest import eventually  # noqa: F401  # a fixture
