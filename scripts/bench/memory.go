package main

type memoryRow struct{}
type passRow struct{}
type restartRow struct{}
type soakResult struct{}
