"""Does a metric agree with people? Human judgements, statistics of agreement with intervals, validity cards."""
