"""Tests of orchestrator.cluster."""
