"""What a run says about itself: metrics, TensorBoard, speed, statistics, traces."""
