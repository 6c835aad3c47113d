// done: the program that the explorer's scenarios execute. It ends at once.
int main(void) { return 0; }
